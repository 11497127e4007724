"""An SSD head trains and cannot predict: it is asked for a ``loss_cls`` it never had. It gets one that is None.

Versions: MMDetection 3.3.0 (open-mmlab/mmdetection#11780). Can go when that is closed.
"""

from __future__ import annotations

import functools


def close() -> str:
    from mmdet.models.dense_heads import SSDHead

    plain = SSDHead.__init__

    @functools.wraps(plain)
    def with_loss_cls(self: SSDHead, *args: object, **kwargs: object) -> None:
        plain(self, *args, **kwargs)
        if not hasattr(self, "loss_cls"):
            self.loss_cls = None

    SSDHead.__init__ = with_loss_cls
    return "SSDHead has the loss_cls that its prediction asks for"
