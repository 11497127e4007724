"""A study of suspect labels: how well a detector finds annotations with a side that was moved on purpose."""
