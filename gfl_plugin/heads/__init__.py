"""Heads: towers, a coder, an assigner and losses put together."""

from .gfl_head import GFLHead

__all__ = ["GFLHead"]
