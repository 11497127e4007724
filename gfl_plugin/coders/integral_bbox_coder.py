r"""A box side as a general distribution over distances (Li et al., arXiv 2006.04388, Eq. 3-4).

The distances from a location to the left, top, right and bottom sides are represented on the bins
:math:`y_0 < y_1 < \dots < y_n`, by default :math:`0, 1, \dots, 16`. The network gives n + 1 logits per side; with their
softmax P the distance is the integral :math:`\hat y = \sum_i P(y_i)\,y_i`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmdet.models.losses import DistributionFocalLoss as MMDetDistributionFocalLoss
from torch import Tensor

from ..losses import DistributionFocalLoss
from ..ops.fractional_index import fractional_index
from ..ops.host_values import host_tensor
from ..ops.tensor_cache import cached
from ..registry import TASK_UTILS
from ..structures.side_fields import BBOX_DISTRIBUTIONS, BBOX_STD
from .base import DistanceBBoxCoder
from .bin_spacings import check_increasing, listed_bins, spaced_bins
from .tilted_bins import tilted_logits

DEFAULT_REG_MAX = 16  # the paper's n


@TASK_UTILS.register_module()
class IntegralBBoxCoder(DistanceBBoxCoder):
    """Represents a box by four distributions over distances; bins and distances are in units of ``stride``.

    Args:
        reg_max: n, the index of the last bin, >= 1; 16 by default, or as many as ``bins`` lists.
        first: y_0, the first bin's distance.
        step: Δ, the bins' spacing, > 0.
        bins: other bins, in place of ``first`` and ``step``: a list of n + 1 increasing distances, or a named spacing
            with its settings, see ``bin_spacings``: ``dict(spacing="uniform", last=16)``,
            ``dict(spacing="geometric", last=64, first_step=1)`` or ``dict(spacing="d_fine", up=0.5, reg_scale=4.0)``.
        initial_distance: distance of all sides that GFLHead predicts before it is trained, by the bias of its layer;
            None for MMDetection's bias of 0, which gives the mean of the bins. Half a side of ATSS's priors is 4.
        **kwargs: settings of DistanceBBoxCoder.

    Raises:
        ValueError: for a setting outside its range, or settings that contradict each other.
    """

    side_losses = (DistributionFocalLoss, MMDetDistributionFocalLoss)
    default_side_loss = {"type": "DistributionFocalLoss", "loss_weight": 0.25}
    side_fields = (BBOX_STD, BBOX_DISTRIBUTIONS)

    def __init__(
        self,
        reg_max: int | None = None,
        first: float = 0.0,
        step: float = 1.0,
        bins: Sequence[float] | Mapping | None = None,
        initial_distance: float | None = None,
        **kwargs,
    ) -> None:
        n = number_of_steps(reg_max, bins)
        if not step > 0:
            raise ValueError(f"step is {step!r}; the bins' spacing must be > 0")
        if bins is not None and (first, step) != (0.0, 1.0):
            raise ValueError(f"first={first!r}, step={step!r} and bins are given; write bins alone")
        super().__init__(encode_size=4 * (n + 1), **kwargs)
        self.reg_max = n
        self.first = float(first)
        self.step: float | None = float(step)  # None where steps differ
        self._values: tuple[float, ...] | None = None  # the bins, None where first and step give them
        if isinstance(bins, Mapping) and bins.get("spacing") == "uniform":
            values = spaced_bins(n, bins)
            self.first, self.step = values[0], (values[-1] - values[0]) / n
        elif bins is not None:
            self._values = spaced_bins(n, bins) if isinstance(bins, Mapping) else listed_bins(bins)
            check_increasing(self._values)
            self.first, self.step = self._values[0], None
        self.initial_distance = initial_distance
        self.initial_bias()  # checks it

    @property
    def last(self) -> float:
        """The last bin, in strides."""
        return self.first + self.step * self.reg_max if self._values is None else self._values[-1]

    def bins(self, device: torch.device | str | None = None) -> Tensor:
        return self._constant_bins(device).clone()

    def initial_bias(self) -> list[float] | None:
        if self.initial_distance is None:
            return None
        try:
            return 4 * tilted_logits(self.bins().tolist(), self.initial_distance)
        except ValueError as error:
            raise ValueError(f"initial_distance is {self.initial_distance!r}; {error}") from None

    def _constant_bins(self, device: torch.device | str | None) -> Tensor:
        device = torch.device(device or "cpu")
        if self._values is None:
            return _uniform(self.reg_max, self.first, self.step, device)
        return _listed(self._values, device)

    def distribution(self, logits: Tensor) -> Tensor:
        """Probabilities of the bins.

        Args:
            logits: (..., 4·(n+1)).

        Returns:
            (..., 4, n+1) fp32.

        Raises:
            ValueError: for another last dimension.
        """
        if logits.shape[-1] != self.encode_size:
            raise ValueError(
                f"the last dimension of the logits is {logits.shape[-1]}; with reg_max={self.reg_max} it must be "
                f"4 * (reg_max + 1) = {self.encode_size}"
            )
        return logits.float().unflatten(-1, (4, self.reg_max + 1)).softmax(dim=-1)

    def integral(self, logits: Tensor) -> Tensor:
        """Expected distances.

        Args:
            logits: (..., 4·(n+1)).

        Returns:
            (..., 4) in strides, fp32.

        Raises:
            ValueError: for another last dimension.
        """
        return _Expectation.apply(self.distribution(logits), self._constant_bins(logits.device))

    def std(self, logits: Tensor) -> Tensor:
        probability = self.distribution(logits)
        bins = self.bins(logits.device)
        mean = (probability * bins).sum(dim=-1, keepdim=True)
        return (probability * (bins - mean).square()).sum(dim=-1).sqrt()

    def position(self, distance: Tensor, eps: float = 0.1) -> Tensor:
        """Positions on the bins, the targets of DFL: index of the bin to the left plus fraction of the next step.

        Args:
            distance: in strides, any shape.
            eps: keeps a bin to the right of each target, as in MMDetection.

        Returns:
            Positions in [0, n - eps], 0 at the first bin; distances outside the bins are clamped.
        """
        if self._values is None:
            position = (distance - self.first) / self.step
        else:
            position = fractional_index(distance, self._constant_bins(distance.device))
        return position.clamp(min=0.0, max=self.reg_max - eps)

    def distances(self, raw: Tensor) -> Tensor:
        """Expected distances.

        Args:
            raw: (..., 4·(n+1)) logits, or (..., 4) distances, which are returned unchanged.

        Returns:
            (..., 4) in strides.

        Raises:
            ValueError: for another last dimension.
        """
        return raw if raw.shape[-1] == 4 else self.integral(raw)


def number_of_steps(reg_max: int | None, bins: Sequence[float] | Mapping | None) -> int:
    """n, the index of the last bin.

    Args:
        reg_max: n, or None if it is not given.
        bins: as IntegralBBoxCoder's.

    Returns:
        ``reg_max`` if it is given, else that of the listed bins, else the default.

    Raises:
        ValueError: for a ``reg_max`` that is not a whole number >= 1, or not that of the listed bins.
    """
    if reg_max is not None and not (isinstance(reg_max, int) and reg_max >= 1):
        raise ValueError(f"reg_max is {reg_max!r}; it must be a whole number >= 1 (the paper's is 16)")
    if bins is None or isinstance(bins, Mapping):
        return DEFAULT_REG_MAX if reg_max is None else reg_max
    count = len(listed_bins(bins))
    if reg_max not in (None, count - 1):
        raise ValueError(
            f"reg_max is {reg_max}, but bins lists {count} numbers, so that it would be {count - 1}; write "
            f"reg_max={count - 1} (or None), or list {reg_max + 1} bins"
        )
    return count - 1


@cached(maxsize=32)
def _uniform(reg_max: int, first: float, step: float, device: torch.device) -> Tensor:
    """Bins with equal steps, cached; callers must not modify them."""
    return first + step * torch.arange(reg_max + 1, dtype=torch.float32, device=device)


@cached(maxsize=32)
def _listed(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Any bins, cached; callers must not modify them."""
    return host_tensor(values, torch.float32, device)


class _Expectation(torch.autograd.Function):
    """(..., n) probabilities and (n,) constant values -> (...) their mean."""

    @staticmethod
    def forward(ctx, probability: Tensor, values: Tensor) -> Tensor:
        ctx.values = values  # a constant; one made in inference mode could not be saved
        # A matrix product rounds as MMDetection does. Autocast would compute it in half precision, so it is disabled.
        with torch.autocast(probability.device.type, enabled=False):
            return torch.nn.functional.linear(probability, values[None]).squeeze(-1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return grad[..., None] * ctx.values, None  # a matrix product with one column takes five times as long
