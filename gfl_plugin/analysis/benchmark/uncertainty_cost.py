"""What the fields about box sides cost at test time: prediction with and without them, on the same maps."""

from __future__ import annotations

import functools
import statistics
from dataclasses import dataclass

from mmengine.config import ConfigDict

from ...heads.box_uncertainty import OPTIONS
from .heads import build_heads
from .row import WARM_UP
from .settings import Settings
from .timing import seconds


@dataclass(frozen=True)
class UncertaintyCost:
    """Cost of ``predict_by_feat`` with some of the fields."""

    options: tuple[str, ...]  # of test_cfg
    without: float  # median, seconds
    with_fields: float  # median, seconds
    ratio: float  # with fields divided by without: the median over the pairs
    low: float  # first quartile of the pairs' ratios
    high: float  # third quartile of the pairs' ratios


def uncertainty_cost(settings: Settings) -> list[UncertaintyCost]:
    """Time ``predict_by_feat`` alternately without and with the fields, with maps like those of a trained detector.

    Args:
        settings: settings of the benchmark: batch, classes, pairs, scores above the threshold.

    Returns:
        The cost of ``bbox_std``, and of both fields.
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
        times = [tuple(seconds(call, settings.device) for call in calls) for _ in range(settings.runs + WARM_UP)]
        without, with_fields = zip(*times[WARM_UP:])
        ratios = [b / a for a, b in times[WARM_UP:]]
        low, _, high = statistics.quantiles(ratios, n=4)
        medians = statistics.median(without), statistics.median(with_fields)
        costs.append(UncertaintyCost(options, *medians, statistics.median(ratios), low, high))
    return costs
