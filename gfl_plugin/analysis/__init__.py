"""Measures and inspects models, heads and data; nothing here takes part in training."""
