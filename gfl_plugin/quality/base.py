"""The contract between GFLHead and its quality representation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..coders import DistanceBBoxCoder
from ..structures.class_targets import ClassTargets
from ..structures.matched import Matched
from .labelled_losses import NOT_LABELLED, labelled_losses


def class_path(part: object) -> str:
    """Module and class of a part, for messages: classes of MMDetection and of this package have the same names.

    Args:
        part: such as a loss.

    Returns:
        For example "mmdet.models.losses.gfocal_loss.QualityFocalLoss".
    """
    return f"{type(part).__module__}.{type(part).__name__}"


class QualityRepresentation(nn.Module):
    """How a head learns the quality of its boxes and uses it at test time: ``quality=dict(type=...)`` of ``GFLHead``.

    The methods here are those of a head without any quality. A subclass overrides those in which it
    differs; GFLHead calls no others.
    """

    # The class loss if a config names none.
    default_loss_cls: ClassVar[dict] = {"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25}
    # Prefixes of keys that checkpoints of the method's authors have in the head, without "quality." before them.
    outer_prefixes: ClassVar[tuple[str, ...]] = ()

    def class_loss_config(self, config: dict) -> dict:
        """The config of the class loss, completed by this representation's default where it names no type.

        Args:
            config: ``loss_cls``; may be empty.

        Returns:
            A config with a type.
        """
        return config if "type" in config else {**self.default_loss_cls, **config}

    def check_coder(self, coder: DistanceBBoxCoder) -> None:
        """Check that a box coder fits; called before :meth:`init_layers`.

        Args:
            coder: the head's box coder.

        Raises:
            ValueError: if it does not fit; the message says what to write.
        """

    def init_layers(self, feat_channels: int) -> None:
        """Create the layers of this representation, if it has any.

        Args:
            feat_channels: channels of the head's towers.
        """

    def outputs(self, cls_logits: Tensor, reg_feat: Tensor, box_raw: Tensor) -> tuple[Tensor, ...]:
        """The head's outputs on one level.

        Args:
            cls_logits: (B, C, H, W) class logits.
            reg_feat: (B, feat_channels, H, W) features of the box tower.
            box_raw: (B, encode_size, H, W) box numbers, fp32.

        Returns:
            Class logits and box numbers. If this representation has maps of its own, they are the third output: (B, D,
            H, W) quality maps, which are passed to :meth:`quality_losses` and :meth:`score`.
        """
        return cls_logits, box_raw

    def check_loss_cls(self, loss_cls: nn.Module) -> None:
        """Check that a class loss fits.

        Args:
            loss_cls: the built loss.

        Raises:
            ValueError: if it does not fit; the message says what to write.
        """
        if isinstance(loss_cls, NOT_LABELLED):
            raise ValueError(
                f"loss_cls is a {class_path(loss_cls)}, which needs a quality as its target; with quality="
                f"dict(type={type(self).__name__!r}) write loss_cls=dict(type='FocalLoss', use_sigmoid=True)"
            )
        if not getattr(loss_cls, "use_sigmoid", False):
            raise ValueError(
                f"loss_cls is a {type(loss_cls).__name__} with softmax; GFLHead's scores are sigmoids: write "
                "use_sigmoid=True"
            )

    def target(self, matched: Matched) -> Tensor:
        """Quality targets of the positives.

        Args:
            matched: predictions and objects at the positives, without gradients.

        Returns:
            (P,) in [0, 1].
        """
        return torch.ones_like(matched.score)

    def box_weight(self, matched: Matched, target: Tensor) -> Tensor:
        """Weights of the positives in the box losses, which are divided by the sum of the weights.

        Args:
            matched: as in :meth:`target`.
            target: (P,) what :meth:`target` returned.

        Returns:
            (P,) weights >= 0.
        """
        return target

    def class_losses(self, loss_cls: nn.Module, logits: Sequence[Tensor], targets: ClassTargets) -> list[Tensor]:
        """The class loss.

        Args:
            loss_cls: the head's class loss.
            logits: L maps (B, C, H, W) of class logits.
            targets: targets of the class scores.

        Returns:
            One scalar per level.
        """
        return labelled_losses(loss_cls, logits, targets)

    def quality_losses(self, maps: Sequence[Tensor] | None, targets: ClassTargets) -> dict[str, list[Tensor]]:
        """Further losses of this representation.

        Args:
            maps: L quality maps (B, D, H, W), where :meth:`outputs` gives them, else None.
            targets: targets of the class scores, including the quality targets.

        Returns:
            Losses by name, each a list of one scalar per level.
        """
        return {}

    def score(self, cls_score: Tensor, quality: Tensor | None) -> Tensor:
        """Scores at test time, which rank detections and are reported.

        The score threshold and ``nms_pre`` apply to the class score before this call, as in MMDetection.

        Args:
            cls_score: (N,) sigmoid of the class logits above the threshold, fp32.
            quality: (N, D) values of the quality maps at the same locations, fp32; None where there are none.

        Returns:
            (N,) scores.
        """
        return cls_score
