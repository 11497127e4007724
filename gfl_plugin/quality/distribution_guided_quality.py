r"""GFLV2's quality (Li et al., arXiv 2011.12885): predicted from the shape of the side distributions.

The joint score of class c is the product of the class score and the quality, :math:`\sigma(a_c)\,\sigma(b)`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..coders import DistanceBBoxCoder
from ..ops.distribution_quality import QualityLayers, Statistics, distribution_quality
from ..ops.joint_logit import joint_logit
from ..registry import MODELS
from .joint_quality import JointQuality


@MODELS.register_module()
class DistributionGuidedQuality(JointQuality):
    r"""The joint score as a product of the class score and a quality that is predicted from the side distributions.

    .. math:: J_c = \sigma(a_c)\,\sigma(b), \qquad b = W_2\,\mathrm{ReLU}(W_1 F + w_1) + w_2

    :math:`a_c` are the class logits. F holds statistics of the softmax distribution of each side, for left, top, right
    and bottom one after the other: the k largest probabilities in descending order, their mean and their variance. The
    flatter a distribution, the less certain is its side. Gradients flow through the statistics to the box logits, as in
    the authors' code.

    The head's class logits are the joint logits :math:`\log(J_c / (1 - J_c))`. Loss (QFL), target (the IoU at the
    object's class), assignment, threshold and score are therefore those of :class:`JointQuality`. The authors' loss,
    which takes the product as a probability (``use_sigmoid=False``), has the same value; the logit also keeps scores
    near 1 apart, and its gradients are finite.

    The layers are saved as ``quality.reg_conf.0`` and ``quality.reg_conf.2``. Checkpoints of the authors, which name
    them ``reg_conf.0`` and ``reg_conf.2``, are loaded, too.

    Args:
        topk: k, the number of largest probabilities of each side.
        values: whether F contains these probabilities.
        mean: whether F contains their mean.
        variance: whether F contains their variance.
        hidden: channels between the two convolutions.
        **kwargs: settings of JointQuality.

    Raises:
        ValueError: for a setting outside its range, or if F is empty.
    """

    outer_prefixes = ("reg_conf.",)

    def __init__(
        self,
        topk: int = 4,
        values: bool = True,
        mean: bool = True,
        variance: bool = False,
        hidden: int = 64,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        _check_whole("topk", topk, 4)
        _check_whole("hidden", hidden, 64)
        for name, value in dict(values=values, mean=mean, variance=variance).items():
            if not isinstance(value, bool):
                raise ValueError(f"{name} is {value!r}; it must be True or False")
        if not (values or mean or variance):
            raise ValueError(
                "values, mean and variance of quality=dict(type='DistributionGuidedQuality') are all False, so that "
                "there is nothing to predict the quality from; set at least one to True"
            )
        self.statistics = Statistics(topk, values, mean, variance)
        self.hidden = hidden

    def class_loss_config(self, config: dict) -> dict:
        """As in the base class; QFL's ``use_sigmoid=False`` becomes True.

        In the authors' configs it says that the class maps are probabilities. Here they are the logits of the same
        probabilities.

        Args:
            config: ``loss_cls``; may be empty.

        Returns:
            A config with a type.
        """
        config = super().class_loss_config(config)
        if config.get("use_sigmoid") is False and str(config["type"]).split(".")[-1] == "QualityFocalLoss":
            return {**config, "use_sigmoid": True}
        return config

    def check_coder(self, coder: DistanceBBoxCoder) -> None:
        bins, topk = coder.bins(), self.statistics.topk
        if bins is None:
            raise ValueError(
                f"bbox_coder is a {type(coder).__name__}, whose sides have no bins; quality=dict(type="
                "'DistributionGuidedQuality') needs distributions: write bbox_coder=dict(type='IntegralBBoxCoder'), or "
                "quality=dict(type='JointQuality')"
            )
        if topk > len(bins):
            raise ValueError(
                f"topk is {topk}, but a side has {len(bins)} bins (reg_max={len(bins) - 1}); write a topk <= "
                f"{len(bins)}, or a larger reg_max"
            )

    def init_layers(self, feat_channels: int) -> None:
        self.reg_conf = nn.Sequential(
            nn.Conv2d(4 * self.statistics.size, self.hidden, 1), nn.ReLU(), nn.Conv2d(self.hidden, 1, 1)
        )

    def outputs(self, cls_logits: Tensor, reg_feat: Tensor, box_raw: Tensor) -> tuple[Tensor, ...]:
        first, _, last = self.reg_conf
        # In half precision, neighboring probabilities near 1 would be equal.
        with torch.autocast(box_raw.device.type, enabled=False):
            layers = QualityLayers(first.weight, first.bias, last.weight, last.bias)
            return joint_logit(cls_logits, distribution_quality(box_raw, layers, self.statistics)), box_raw

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        weight = state_dict.get(f"{prefix}reg_conf.0.weight")
        expected = self.reg_conf[0].weight.shape
        if weight is not None and weight.shape != expected:
            raise ValueError(
                f"the checkpoint's quality layers have {weight.shape[1]} statistics and hidden={weight.shape[0]}, this "
                f"head's {expected[1]} and hidden={expected[0]}; set topk, values, mean, variance and hidden of "
                "quality=dict(type='DistributionGuidedQuality') to those of the checkpoint"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)


def _check_whole(name: str, value: int, example: int) -> None:
    if isinstance(value, bool) or not (isinstance(value, int) and value >= 1):
        raise ValueError(f"{name} is {value!r}; it must be a whole number >= 1 (the paper's is {example})")
