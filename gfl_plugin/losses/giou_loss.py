r"""Generalized IoU loss (Rezatofighi et al., arXiv 1902.09630, Algorithm 1).

.. math:: L = 1 - \left(\frac{|A \cap B|}{|A \cup B|} - \frac{|C \setminus (A \cup B)|}{|C|}\right)

C is the smallest box that encloses A and B. The values equal MMDetection's; its GPU synchronizations are
avoided.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..ops.box_geometry import aligned_giou
from ..registry import MODELS
from .reduction import check_reduction, reduce_rows


def giou_loss(pred: Tensor, target: Tensor, eps: float = 1e-6) -> Tensor:
    """GIoU loss of each predicted box and the target box at the same index.

    Args:
        pred: (N, 4), x1, y1, x2, y2.
        target: (N, 4).
        eps: areas in denominators are clamped to at least this, in the boxes' unit, squared. With 0, as in MMDetection,
            the loss of two boxes without area is NaN.

    Returns:
        (N,), in [0, 2].

    Raises:
        ValueError: for shapes that do not fit.
    """
    if pred.shape != target.shape or pred.shape[-1] != 4:
        raise ValueError(
            f"pred has shape {tuple(pred.shape)} and target {tuple(target.shape)}; both must be (N, 4), one target per "
            "predicted box"
        )
    return 1 - aligned_giou(pred, target, eps)


@MODELS.register_module()
class GIoULoss(nn.Module):
    """Generalized IoU loss with MMDetection's interface.

    Args:
        eps: see :func:`giou_loss`. GFLHead's boxes are in strides of their level.
        reduction: "none", "mean" or "sum" over boxes.
        loss_weight: factor of the result.

    Raises:
        ValueError: for an unknown reduction.
    """

    def __init__(self, eps: float = 1e-6, reduction: str = "mean", loss_weight: float = 1.0) -> None:
        super().__init__()
        self.eps = eps
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Weighted and reduced loss; see :func:`giou_loss`.

        Args:
            pred: (N, 4), x1, y1, x2, y2.
            target: (N, 4).
            weight: (N,), or (N, 4), whose mean over sides is used; or None.
            avg_factor: divisor of the mean, instead of N.
            reduction_override: replaces ``reduction`` in this call.

        Returns:
            A scalar; (N,) if the reduction is "none".

        Raises:
            ValueError: for shapes that do not fit, or an unknown override.
        """
        rows = giou_loss(pred, target, self.eps)
        if weight is not None and weight.dim() == 2:
            weight = weight.mean(dim=1)
        return self.loss_weight * reduce_rows(rows, weight, self.reduction, avg_factor, reduction_override)
