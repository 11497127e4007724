"""Configs of new projects and changes of existing ones."""
