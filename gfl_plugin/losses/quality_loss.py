"""The interface of class losses whose targets are qualities; it is that of MMDetection's losses, and a sparse form."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..structures.class_targets import ClassTargets
from .quality_targets import Target
from .row_loss import RowLoss


class QualityLoss(RowLoss):
    """Base class of losses of the joint score: one sigmoid per class, whose target is the quality of the box.

    Args:
        use_sigmoid: must be True; the joint score is a sigmoid by definition.
        reduction: "none", "mean" or "sum" over rows.
        loss_weight: factor of the result.

    Raises:
        ValueError: for an invalid setting; the message says what to write instead.
    """

    activated = False  # whether predictions are probabilities rather than logits

    def __init__(self, use_sigmoid: bool = True, reduction: str = "mean", loss_weight: float = 1.0) -> None:
        super().__init__(reduction, loss_weight)
        if use_sigmoid is not True:
            raise ValueError(
                f"{type(self).__name__} has use_sigmoid={use_sigmoid!r}; the joint score is a sigmoid, so write "
                "use_sigmoid=True (where a model of your own returns probabilities, add activated=True to a "
                "QualityFocalLoss)"
            )
        self.use_sigmoid = use_sigmoid

    def rows(self, pred: Tensor, target: Target) -> Tensor:
        """The loss of each row, without weights.

        Args:
            pred: (N, C) logits, or probabilities if ``activated``.
            target: ``(label, score)`` or (N, C) qualities.

        Returns:
            (N,) sums over the classes, fp32.

        Raises:
            ValueError: for an invalid target.
        """
        raise NotImplementedError

    def sparse(self, logits: Sequence[Tensor], targets: ClassTargets) -> Tensor:
        """The loss of the dense logits of a pyramid, with targets for positives only.

        Args:
            logits: L maps (B, C, H, W) of any float dtype.
            targets: classes and qualities of the positives, weights of locations, and the normalizer.

        Returns:
            (L,) loss of each level, fp32, with this module's settings.
        """
        raise NotImplementedError


def check_exponent(name: str, value: float, example: str) -> float:
    """Check the exponent of a modulating factor.

    Args:
        name: of the setting.
        value: of the setting.
        example: what to write, for the message.

    Returns:
        The exponent as a float.

    Raises:
        ValueError: if it is not finite and >= 0.
    """
    if not (isinstance(value, (int, float)) and 0 <= value < float("inf")):
        raise ValueError(f"{name} is {value!r}; it must be a finite number >= 0 ({example})")
    return float(value)
