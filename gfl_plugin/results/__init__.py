"""Results in the formats of others: JSON, COCO's result files, supervision. MMDetection's own writers drop fields."""

from .coco_metric import CocoMetric
from .detections_to_dict import detections_to_dict
from .to_supervision import to_supervision

__all__ = ["CocoMetric", "detections_to_dict", "to_supervision"]
