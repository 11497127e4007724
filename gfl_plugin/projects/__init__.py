"""Config surgery: replacing the head of a detector."""
