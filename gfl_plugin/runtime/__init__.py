"""What runs need besides the model: third-party gaps, checkpoints, atomic files, sharding, step records."""
