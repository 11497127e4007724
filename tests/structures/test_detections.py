"""Post-processing keeps the fields of each detection together."""

from __future__ import annotations

import torch
from mmengine.config import ConfigDict

from gfl_plugin.heads.postprocess import postprocess
from gfl_plugin.structures.detections import Detections

METAS = [dict(scale_factor=(2.0, 4.0)), dict(scale_factor=(1.0, 1.0)), dict(scale_factor=(0.5, 0.5))]
CONFIG = dict(min_bbox_size=0, max_per_img=3, nms=dict(type="nms", iou_threshold=0.5))


def detections(count: int = 60) -> Detections:
    """Random boxes of images 0 and 2; the further fields are functions of the scores, which identify rows."""
    corner = torch.rand(count, 2) * 80
    boxes = torch.cat([corner, corner + 5 + torch.rand(count, 2) * 40], dim=1)
    boxes[::7, 2] = boxes[::7, 0] - 1  # no area
    scores = torch.rand(count)
    image = torch.where(torch.rand(count) < 0.5, 0, 2).sort().values
    extra = dict(bbox_std=scores[:, None].expand(count, 4) * 3, double=scores * 2)
    return Detections(boxes, scores, torch.randint(0, 3, (count,)), image, extra)


def test_further_fields_follow_their_detection() -> None:
    for nms in (CONFIG["nms"], dict(type="nms", iou_threshold=0.5, max_num=100)):  # all images; mmcv's per image
        for with_nms in (True, False):
            found = detections()
            config = ConfigDict({**CONFIG, "nms": nms})
            kept = postprocess(found, METAS, config, rescale=True, with_nms=with_nms)
            results = [own.to_instances() for own in kept]
            assert [len(result) for result in results][1] == 0
            for result, meta in zip(results, METAS):
                assert torch.equal(result.double, result.scores * 2)
                original = torch.tensor([*meta["scale_factor"]] * 2)
                assert torch.equal(result.bbox_std, (result.scores * 3)[:, None] / original)
                for box, score in zip(result.bboxes, result.scores):
                    row = int((found.scores == score).nonzero())
                    assert torch.allclose(box * original, found.boxes[row], rtol=1e-5)
                    assert (box[2:] > box[:2]).all()
            total = sum(map(len, results))
            assert total == 6 if with_nms else total == int((found.boxes[:, 2] > found.boxes[:, 0]).sum())


def test_nms_of_all_images_equals_mmcvs_nms_per_image() -> None:
    """All fields are equal."""
    found = detections(300)
    one = postprocess(found, METAS, ConfigDict({**CONFIG, "max_per_img": 50}), rescale=False, with_nms=True)
    apart = dict(type="nms", iou_threshold=0.5, max_num=1000)
    other = postprocess(found, METAS, ConfigDict({**CONFIG, "max_per_img": 50, "nms": apart}), False, True)
    for first, second in zip(one, other):
        for name in ("boxes", "scores", "labels"):
            assert torch.equal(getattr(first, name), getattr(second, name)), name
        assert torch.equal(first.extra["bbox_std"], second.extra["bbox_std"])
