"""COCO's metric, whose result files also have the standard deviations and the intervals of box sides."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.evaluation.metrics import CocoMetric as MMDetCocoMetric
from mmengine.fileio import dump, load

from ..registry import METRICS
from ..structures.side_fields import BBOX_DISTRIBUTIONS, BBOX_POINTS, SIDE_FIELDS

_WRITTEN = tuple(name for name in SIDE_FIELDS if name not in (BBOX_DISTRIBUTIONS, BBOX_POINTS))


@METRICS.register_module()
class CocoMetric(MMDetCocoMetric):
    """MMDetection's ``CocoMetric``; detections in ``OUTFILE_PREFIX.bbox.json`` also have the fields about box sides.

    They are there where ``test_cfg`` asks for them: ``bbox_std`` (left, top, right, bottom in pixels), and
    ``bbox_inner`` and ``bbox_outer`` (x1, y1, x2, y2; ``bbox`` itself is x, y, width, height as in all files of COCO).
    COCO's tools ignore them, and the metrics are MMDetection's. Distributions are not written: with 17 bins they would
    be 68 numbers per detection; nor are ``bbox_points``, which place them on the image.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the results of a batch.

        Args:
            data_batch: not used.
            data_samples: detections of the images, as dicts.
        """
        super().process(data_batch, data_samples)
        if not data_samples:
            return
        for (_, result), sample in zip(self.results[-len(data_samples) :], data_samples):
            found = sample["pred_instances"]
            result.update({name: found[name].cpu().numpy() for name in _WRITTEN if name in found})

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict[str, str]:
        """Write COCO's result files.

        Args:
            results: of each image.
            outfile_prefix: path of the files, without ``.bbox.json``.

        Returns:
            Names of the files by kind.
        """
        files = super().results2json(results, outfile_prefix)
        names = [name for name in _WRITTEN if any(name in result for result in results)]
        if names:
            _add_fields(names, results, files["bbox"])
        return files


def _add_fields(names: Sequence[str], results: Sequence[dict], path: str) -> None:
    """Write fields into the file of detections, which MMDetection writes in the order of results."""
    written = load(path)
    for name in names:
        rows = [row for result in results for row in result.get(name, [None] * len(result["labels"]))]
        for entry, row in zip(written, rows, strict=True):
            if row is not None:
                entry[name] = row.tolist()
    dump(written, path)
