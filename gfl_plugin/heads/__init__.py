"""Dense heads: GFLHead, and MMDetection's heads of other families with the joint score."""

from .gfl_head import GFLHead
from .ld_head import LDHead
from .qfl_heads import FCOSQFLHead, FoveaQFLHead, RetinaQFLHead, SSDQFLHead

__all__ = ["FCOSQFLHead", "FoveaQFLHead", "GFLHead", "LDHead", "RetinaQFLHead", "SSDQFLHead"]
