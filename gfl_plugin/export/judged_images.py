"""Images as a data set's pipeline gives them, as inputs of the PyTorch model and of the exported file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import nn

from .model_description import NO_PREPROCESSING, RESIZE
from .runner.detect import Detections, Detector, resized_size

# Of the file's graph: what the preprocessing has resized (input_graph.py).
_RESIZED_OPERATION, _PREFIX = "Round", "preprocessing/"


@dataclass(frozen=True)
class JudgedImage:
    """An image before normalization."""

    # (H, W, 3) blue, green, red, as MMDetection reads images, of the pipeline's dtype; resized, unless the file does it
    pixels: np.ndarray
    scale: tuple[float, float]  # pixels of the resized image per pixel of the original one, along x and y

    def part(self, height: float, width: float) -> JudgedImage:
        """The upper left part of the image.

        Args:
            height: share of its height.
            width: share of its width.

        Returns:
            The part.
        """
        rows, columns = (max(1, round(side * part)) for side, part in zip(self.pixels.shape, (height, width)))
        return JudgedImage(np.ascontiguousarray(self.pixels[:rows, :columns]), self.scale)

    def mirrored(self) -> JudgedImage:
        """The image with left and right exchanged.

        Returns:
            The image.
        """
        return JudgedImage(np.ascontiguousarray(self.pixels[:, ::-1]), self.scale)

    def noise(self) -> JudgedImage:
        """An image of this size without objects: random pixels, always the same ones.

        In an image of one color many scores would be equal, so that rounding would decide most of what NMS keeps.

        Returns:
            The image.
        """
        pixels = np.random.default_rng(0).integers(0, 256, self.pixels.shape)
        return JudgedImage(pixels.astype(self.pixels.dtype), self.scale)


class PyTorchSide:
    """Runs the detector as MMDetection's test does.

    Args:
        model: the detector in eval mode.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def batch(self, images: Sequence[JudgedImage]) -> dict:
        """The images as a data loader gives them.

        Args:
            images: the images.

        Returns:
            ``inputs`` and ``data_samples``.
        """
        samples = []
        for image in images:
            height, width = image.pixels.shape[:2]
            original = (round(height / image.scale[1]), round(width / image.scale[0]))
            meta = dict(img_shape=(height, width), ori_shape=original, scale_factor=image.scale, img_id=0, img_path="")
            samples.append(DetDataSample(metainfo=meta))
        return {"inputs": [torch.from_numpy(one.pixels).permute(2, 0, 1) for one in images], "data_samples": samples}

    def detect(self, images: Sequence[JudgedImage]) -> list[Detections]:
        """Run ``test_step``.

        Args:
            images: a batch.

        Returns:
            The detections of each image in pixels of the original image.
        """
        with torch.no_grad():
            return [detections_of(one.pred_instances) for one in self.model.test_step(self.batch(images))]

    def candidates(self, image: JudgedImage) -> Detections:
        """What the detector finds before NMS.

        Args:
            image: the image.

        Returns:
            The boxes above the score threshold, in pixels of the original image.
        """
        with torch.no_grad():
            data = self.model.data_preprocessor(self.batch([image]), False)
            maps = self.model.bbox_head(self.model.extract_feat(data["inputs"]))
            metas = [one.metainfo for one in data["data_samples"]]
            (found,) = self.model.bbox_head.predict_by_feat(*maps, batch_img_metas=metas, rescale=True, with_nms=False)
        smallest = self.model.bbox_head.test_cfg.get("min_bbox_size", -1)
        own = detections_of(found)
        return own if smallest < 0 else own.rows((own.boxes[:, 2:] - own.boxes[:, :2] > smallest).all(axis=1))


class FileSide:
    """Runs the exported file, with the post-processing of its runner.

    Args:
        path: the file.
        pytorch: the detector, whose preprocessing makes the inputs of a file without preprocessing.
    """

    def __init__(self, path: Path, pytorch: PyTorchSide) -> None:
        self.detector = Detector(path)
        self.preprocessing: str = self.detector.about.input.preprocessing
        self._pytorch = pytorch
        self._resizing = Resizing(path) if self.preprocessing == RESIZE else None

    def detect(self, images: Sequence[JudgedImage]) -> list[Detections]:
        """Run the file.

        Args:
            images: a batch; with preprocessing in the file, of one size.

        Returns:
            The detections of each image in pixels of the original image.
        """
        inputs = self._inputs(images)
        scales = [one.scale for one in images]
        if self.preprocessing == RESIZE and self.detector.about.contract == "raw":
            (height, width), (new_height, new_width) = images[0].pixels.shape[:2], inputs["sizes"][0].tolist()
            scales = [(new_width / width, new_height / height)] * len(images)
        return self.detector.finish(self.detector.run(inputs), inputs["sizes"], scales)

    def resized(self, image: JudgedImage) -> JudgedImage:
        """What the file makes of an image before normalization.

        Args:
            image: an image of any size.

        Returns:
            The image that the network sees; the same one where the file does not resize.
        """
        if self._resizing is None:
            return image
        pixels = self._resizing(image.pixels[:, :, ::-1])[:, :, ::-1]
        (height, width), (new_height, new_width) = image.pixels.shape[:2], pixels.shape[:2]
        return JudgedImage(np.ascontiguousarray(pixels), (new_width / width, new_height / height))

    def _inputs(self, images: Sequence[JudgedImage]) -> dict[str, np.ndarray]:
        if self.preprocessing == NO_PREPROCESSING:
            data = self._pytorch.model.data_preprocessor(self._pytorch.batch(images), False)
            sizes = [one.img_shape[:2] for one in data["data_samples"]]
            return {"images": data["inputs"].numpy(), "sizes": np.array(sizes, np.int64)}
        pixels = np.stack([one.pixels[:, :, ::-1] for one in images])
        height, width = pixels.shape[1:3]
        own = self.detector.about.input
        if self.preprocessing == RESIZE and own.size is not None:
            width, height = resized_size((width, height), own.size, own.keep_ratio)
        return {"images": pixels, "sizes": np.array([[height, width]] * len(images), np.int64)}


class Resizing:
    """The part of a file that resizes images, run alone.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        import onnx
        import onnxruntime

        model = onnx.load(path)
        nodes = [node for node in model.graph.node if node.op_type == _RESIZED_OPERATION]
        names = [node.output[0] for node in nodes if node.output[0].startswith(_PREFIX)]
        self._session = None
        if names:  # otherwise images keep their size
            del model.graph.output[:]  # ONNX Runtime removes what is not needed for the new output
            model.graph.output.append(onnx.helper.make_tensor_value_info(names[0], onnx.TensorProto.FLOAT, None))
            self._session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Resize an image.

        Args:
            image: (H, W, 3) uint8, red, green, blue.

        Returns:
            (H', W', 3) uint8, red, green, blue.
        """
        if self._session is None:
            return image
        (resized,) = self._session.run(None, {"images": np.ascontiguousarray(image)[None]})
        return resized[0].transpose(1, 2, 0).astype(np.uint8)


def detections_of(found: InstanceData) -> Detections:
    """Results of MMDetection in the form of the runner.

    Args:
        found: the instances of an image.

    Returns:
        The detections.
    """
    boxes = getattr(found.bboxes, "tensor", found.bboxes)
    std = found.bbox_std.numpy() if "bbox_std" in found else None
    return Detections(boxes.numpy(), found.scores.numpy(), found.labels.numpy(), std)
