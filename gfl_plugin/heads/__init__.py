"""Heads: towers, a quality, a coder, an assigner and losses put together."""

from .gfl_head import GFLHead
from .qfl_heads import FCOSQFLHead, FoveaQFLHead, RetinaQFLHead, SSDQFLHead

__all__ = ["FCOSQFLHead", "FoveaQFLHead", "GFLHead", "RetinaQFLHead", "SSDQFLHead"]
