"""Subcommands of ``gfl-plugin``, one per module; :mod:`gfl_plugin.cli` describes such a module."""
