"""What makes a run possible and safe: third-party gaps, checkpoints, atomic files, sharding, recorded steps."""
