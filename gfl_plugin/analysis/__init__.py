"""What looks into the plugin and its models: measurements, not part of training."""
