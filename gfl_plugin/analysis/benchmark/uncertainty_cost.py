"""What the fields about box sides cost at test time: prediction with and without them, on the same maps."""

from __future__ import annotations

import functools

from mmengine.config import ConfigDict

from ...heads.box_uncertainty import OPTIONS
from .heads import build_heads
from .paired_cost import PairedCost, paired_cost
from .settings import Report, Settings


def uncertainty_cost(settings: Settings, report: Report = lambda name: None) -> list[PairedCost]:
    """Time ``predict_by_feat`` alternately without and with the fields, with maps like those of a trained detector.

    Args:
        settings: settings of the benchmark: batch, classes, pairs, scores above the threshold.
        report: function that is called with the name of the current measurement.

    Returns:
        The cost of ``bbox_std``, and of both fields; without them first.
    """
    case, (_, head) = settings.case().as_trained(settings.above), build_heads(settings.classes, settings.device)
    costs = []
    for options in (("with_uncertainty",), tuple(OPTIONS)):
        configs = (head.test_cfg, ConfigDict({**head.test_cfg, **dict.fromkeys(options, True)}))
        calls = [
            functools.partial(
                head.predict_by_feat,
                case.cls_scores,
                case.bbox_preds,
                batch_img_metas=case.img_metas,
                cfg=config,
                rescale=True,
            )
            for config in configs
        ]
        report(" + ".join(options))
        costs.append(paired_cost(" + ".join(options), calls, settings.runs, settings.device))
    return costs
