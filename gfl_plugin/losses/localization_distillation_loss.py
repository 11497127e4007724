r"""Localization Distillation (Zheng et al., arXiv 2102.12252): a student learns a teacher's side distributions.

.. math:: L_{LD} = \frac{T^2}{n + 1} \sum_i p_i (\log p_i - \log q_i), \qquad
   p = \mathrm{softmax}(z_{teacher} / T), \quad q = \mathrm{softmax}(z_{student} / T)

It is the Kullback-Leibler divergence of both softened distributions, as a mean over the n + 1 bins. The factor
:math:`T^2` keeps the size of the gradient, :math:`T (q_i - p_i) / (n + 1)`, when T changes.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from ..registry import MODELS
from .reduction import check_reduction, reduce_rows

DEFAULT_TEMPERATURE = 10.0  # of the paper


def localization_distillation_loss(pred: Tensor, soft_label: Tensor, temperature: float) -> Tensor:
    """Divergence of each student's distribution from its teacher's; computed in fp64 whatever the input's dtype.

    At T = 10 both distributions are almost uniform, so that terms of different sign nearly cancel. In fp32 the rounding
    error of a row is 1e-4 of its value if teacher and student differ by one logit, and larger the closer they are.

    Args:
        pred: (N, n + 1) logits of the student.
        soft_label: (N, n + 1) logits of the teacher; they get no gradient.
        temperature: T > 0.

    Returns:
        (N,) losses >= 0, fp32.

    Raises:
        ValueError: for shapes that do not fit, or a temperature that is not a positive number.
    """
    _check_temperature(temperature)
    if pred.dim() != 2 or pred.shape[1] < 2 or soft_label.shape != pred.shape:
        raise ValueError(
            f"pred has shape {tuple(pred.shape)} and soft_label {tuple(soft_label.shape)}; both must be (N, n + 1), "
            "n >= 1: one logit per bin of the student's and of the teacher's distributions"
        )
    student = (pred.double() / temperature).log_softmax(dim=1)
    teacher = (soft_label.detach().double() / temperature).log_softmax(dim=1)
    divergence = (teacher.exp() * (teacher - student)).mean(dim=1)
    return (divergence * temperature**2).float()


# MMDetection's configs name the loss by its second name.
@MODELS.register_module(name=["LocalizationDistillationLoss", "KnowledgeDistillationKLDivLoss"])
class LocalizationDistillationLoss(nn.Module):
    """Localization distillation with the interface of MMDetection's ``KnowledgeDistillationKLDivLoss``.

    Args:
        reduction: "none", "mean" or "sum" over rows.
        loss_weight: factor of the result.
        T: temperature > 0 that divides the logits of student and teacher.

    Raises:
        ValueError: for an unknown reduction, or a temperature that is not a positive number.
    """

    def __init__(self, reduction: str = "mean", loss_weight: float = 1.0, T: float = DEFAULT_TEMPERATURE) -> None:
        super().__init__()
        _check_temperature(T)
        self.reduction = check_reduction(reduction)
        self.loss_weight = loss_weight
        self.T = T

    def forward(
        self,
        pred: Tensor,
        soft_label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Weighted and reduced loss; see :func:`localization_distillation_loss`.

        Args:
            pred: (N, n + 1) logits of the student.
            soft_label: (N, n + 1) logits of the teacher.
            weight: (N,), or None.
            avg_factor: divisor of the mean, instead of N.
            reduction_override: replaces ``reduction`` in this call.

        Returns:
            A scalar; (N,) if the reduction is "none".

        Raises:
            ValueError: for shapes that do not fit, or an unknown override.
        """
        rows = localization_distillation_loss(pred, soft_label, self.T)
        return self.loss_weight * reduce_rows(rows, weight, self.reduction, avg_factor, reduction_override)


def _check_temperature(temperature: float) -> None:
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"T is {temperature!r}; the temperature must be a number > 0 (the paper's is 10)")
