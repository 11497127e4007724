"""Checks of the datasets of a config: annotations, image files, and the training targets of a GFL head."""
