"""MMDetection's inferencer, whose predictions and files also have the fields about box sides."""

from __future__ import annotations

from pathlib import Path

from mmdet.apis import DetInferencer as MMDetDetInferencer
from mmdet.structures import DetDataSample
from mmengine.fileio import dump

from .detections_to_dict import side_fields_to_lists


class DetInferencer(MMDetDetInferencer):
    """MMDetection's ``DetInferencer``; predictions also have the fields about box sides.

    They are there where ``test_cfg`` asks for them: ``bbox_std`` for ``with_uncertainty=True``, ``bbox_distributions``
    and ``bbox_points`` for ``with_distributions=True``, ``bbox_inner`` and ``bbox_outer`` for
    ``intervals="calibration.json"``.
    """

    def pred2dict(self, data_sample: DetDataSample, pred_out_dir: str = "") -> dict:
        """Results of an image.

        Args:
            data_sample: detections of the image.
            pred_out_dir: folder in which ``preds/NAME.json`` is written; "" for no file.

        Returns:
            MMDetection's result with the fields about box sides.
        """
        number = self.num_predicted_imgs  # names the file of an image without a path
        result = super().pred2dict(data_sample, pred_out_dir)
        fields = side_fields_to_lists(data_sample) if "pred_instances" in data_sample else {}
        if fields and pred_out_dir:
            name = Path(data_sample.img_path).stem if "img_path" in data_sample else str(number)
            dump({**result, **fields}, str(Path(pred_out_dir) / "preds" / f"{name}.json"))
        return {**result, **fields}
