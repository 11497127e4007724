"""COCO's metric, whose result files also have the standard deviations of box sides."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.evaluation.metrics import CocoMetric as MMDetCocoMetric
from mmengine.fileio import dump, load

from ..registry import METRICS
from ..structures.side_fields import BBOX_STD


@METRICS.register_module()
class CocoMetric(MMDetCocoMetric):
    """MMDetection's ``CocoMetric``; each detection in ``OUTFILE_PREFIX.bbox.json`` also has ``bbox_std``.

    It is there where ``test_cfg`` asks for it (``with_uncertainty=True``): four numbers, for left, top, right and
    bottom in pixels. COCO's tools ignore it, and the metrics are MMDetection's. Distributions are not written: with 17
    bins they would be 68 numbers per detection.
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
            std = sample["pred_instances"].get(BBOX_STD)
            if std is not None:
                result[BBOX_STD] = std.cpu().numpy()

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict[str, str]:
        """Write COCO's result files.

        Args:
            results: of each image.
            outfile_prefix: path of the files, without ``.bbox.json``.

        Returns:
            Names of the files by kind.
        """
        files = super().results2json(results, outfile_prefix)
        if any(BBOX_STD in result for result in results):
            # MMDetection writes the detections in the order of results: image after image.
            rows = [row for result in results for row in result.get(BBOX_STD, [None] * len(result["labels"]))]
            written = load(files["bbox"])
            for entry, row in zip(written, rows, strict=True):
                if row is not None:
                    entry[BBOX_STD] = row.tolist()
            dump(written, files["bbox"])
        return files
