"""Subcommands of ``gfl-plugin``, one per module; :mod:`gfl_plugin.cli` says what such a module holds."""
