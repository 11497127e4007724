"""Run by torchrun: LocalizationQualityMetric in several processes against one process on all images.

The images are those of MMEngine's sampler, which repeats the first ones if their number is not a multiple of the
number of processes. The first process prints the largest difference.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from metrics.scenes import random_samples
from mmengine.dataset import DefaultSampler
from mmengine.dist import get_rank, get_world_size, init_dist

from gfl_plugin import LocalizationQualityMetric

IMAGES = 7


def main() -> None:
    init_dist("pytorch", backend="gloo")
    images = random_samples(0, images=IMAGES)
    parts, whole = LocalizationQualityMetric(), LocalizationQualityMetric()
    mine = list(DefaultSampler(range(IMAGES), shuffle=False))
    for index in mine:
        parts.process(None, [images[index]])
    values = parts.evaluate(size=IMAGES)
    whole.process(None, images)
    expected = whole.compute_metrics(whole.results)
    if get_rank() == 0:
        assert not any(map(math.isnan, expected.values()))
        difference = max(abs(values[f"quality/{name}"] - value) for name, value in expected.items())
        print(f"metric|{get_world_size()}|{len(mine)}|{difference}")


if __name__ == "__main__":
    main()
