"""Layouts: what the outputs of an ONNX file mean, so that networks of other toolboxes can be run and examined."""
