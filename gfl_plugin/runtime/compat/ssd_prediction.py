"""Prediction with SSDHead.

Problem: SSDHead trains, but prediction reads its attribute ``loss_cls``, which does not exist.
Versions: MMDetection 3.3.0 (open-mmlab/mmdetection#11780).
Change: SSDHead gets a ``loss_cls`` that is None.
Not needed when: the issue is fixed.
"""

from __future__ import annotations

import functools


def close() -> str:
    """Add the attribute to SSDHead.

    Returns:
        What was changed.
    """
    from mmdet.models.dense_heads import SSDHead

    plain = SSDHead.__init__

    @functools.wraps(plain)
    def with_loss_cls(self: SSDHead, *args: object, **kwargs: object) -> None:
        plain(self, *args, **kwargs)
        if not hasattr(self, "loss_cls"):
            self.loss_cls = None

    SSDHead.__init__ = with_loss_cls
    return "SSDHead has the attribute loss_cls that prediction reads"
