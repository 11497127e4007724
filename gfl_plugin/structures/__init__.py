"""The frozen dataclasses that packages exchange."""
