"""An ONNX file, run by ONNX Runtime over labelled images, as a source of examined images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...export.layouts.detector import OnnxDetector
from ...pictures.read_image import read_rgb
from ...runtime.errors import in_a_line
from .detector_source import info_of
from .examined_image import ExaminedImage
from .examined_result import examined_image
from .image_source import AboutModel, ExaminedBatch
from .labelled_sets import LabelledImages
from .matched_classes import MatchedClasses
from .readable_images import Unreadable
from .run_fingerprint import fingerprint

_NO_STD = (
    "The ONNX file does not say how certain it is of the sides of a box. Labels are judged by margins in proportion to "
    "the size of the box."
)
_NO_BINS = "The ONNX file gives no distributions of sides; they are shown as normal distributions."


@dataclass(frozen=True)
class OnnxSubject:
    """An ONNX file and the images to examine."""

    name: str  # of the model, unique in a report
    layout: str  # as given by the user; "" for a file that needs none
    detector: OnnxDetector
    images: LabelledImages
    classes: MatchedClasses
    split: str  # name of the images

    def open(self) -> OnnxSource:
        """Collect what the report says about the model.

        Returns:
            The source.
        """
        own = self.detector
        missing = () if own.bins is not None else (_NO_BINS if own.with_std else _NO_STD,)
        about = AboutModel(
            config=self.layout or own.path.name,
            checkpoint=str(own.path),
            head=own.about,
            classes=self.images.classes,
            bins=own.bins,
            missing=(*own.notes, *((self.classes.note,) if self.classes.note else ()), *missing),
        )
        settings = ["onnx", own.settings, self.classes.labels.tolist(), list(self.images.classes)]
        return OnnxSource(about, self.images.name, fingerprint(settings, own.files, self.images.dataset), self)


@dataclass(frozen=True)
class OnnxSource:
    """An ONNX file with its images; see :class:`~gfl_plugin.analysis.report.image_source.ImageSource`."""

    about: AboutModel
    images: str
    fingerprint: str
    subject: OnnxSubject

    def __len__(self) -> int:
        return len(self.subject.images.dataset)

    def examined(self, numbers: Sequence[int]) -> Iterator[ExaminedBatch]:
        """Predict images.

        Args:
            numbers: of the images.

        Yields:
            One image each.

        Raises:
            ValueError: if the file does not run.
        """
        for number in numbers:
            try:
                pixels = read_rgb(self.path(number))
            except Exception as error:  # readers of images fail in many ways, see ReadableImages
                yield ExaminedBatch({}, (Unreadable(number, in_a_line(error)),))
                continue
            yield ExaminedBatch({number: self._image(number, pixels)}, ())

    def path(self, number: int) -> str:
        """Name an image.

        Args:
            number: of the image.

        Returns:
            Path of its file.
        """
        return str(Path(info_of(self.subject.images.dataset, number)["img_path"]))

    def _image(self, number: int, pixels: np.ndarray) -> ExaminedImage:
        info = info_of(self.subject.images.dataset, number)
        found = self.subject.detector.find(pixels)
        found = replace(found, labels=self.subject.classes.labels[found.labels])
        sample = {
            "pred_instances": found.fields(),
            "instances": info["instances"],
            "ori_shape": pixels.shape[:2],
            **{name: info[name] for name in ("img_id", "img_path") if name in info},
        }
        return examined_image(sample, info, number)
