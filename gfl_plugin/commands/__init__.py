"""Subcommands of ``gfl-plugin``, one per file."""
