"""Detects objects with an ONNX file: one of another toolbox with its layout, or one that this package has exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...runtime.install_advice import module_or_advice
from ..model_description import KEY, RAW, ModelDescription
from .decode import Found, decode
from .described import described_layout
from .fit import fit_layout, run_inputs
from .frame import frame_of
from .layout import Layout
from .onnx_file import OnnxFile, open_onnx, shape_text
from .settings import read_settings, shipped_layouts


@dataclass(frozen=True)
class OnnxDetector:
    """A file that finds objects in images."""

    path: Path
    about: str  # one line: what the file is
    class_count: int
    classes: tuple[str, ...] | None  # names; None if nothing says them
    bins: tuple[float, ...] | None  # distances of the bins in strides; None without distributions
    with_std: bool  # whether detections have standard deviations of their sides
    settings: str  # all that changes the detections beside the file itself
    notes: tuple[str, ...]  # sentences for people about what the file has instead of what the layout says
    find: Callable[[np.ndarray], Found]  # the detections of an (H, W, 3) uint8 RGB image

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, and the one with its weights if they are apart."""
        return tuple(path for path in (self.path, Path(f"{self.path}.data")) if path.is_file())


def open_detector(path: Path, layout: str | None = None) -> OnnxDetector:
    """Open a file.

    Args:
        path: of the ONNX file.
        layout: name of a layout that comes along, or path of a JSON file; not needed for files of this package.

    Returns:
        The detector.

    Raises:
        FileNotFoundError: if there is no such file or layout.
        ValueError: if the file cannot be run, the layout does not fit it, or it needs one.
        MissingPackageError: if a package of the extra ``[export]`` is missing.
    """
    for package in ("onnxruntime", "PIL"):
        module_or_advice(package, "export")
    settings = None if layout is None else read_settings(layout)
    file = open_onnx(path)
    if settings is not None:
        fitted = fit_layout(settings, file)
        return _decoding(file, fitted.layout, fitted.notes)
    if KEY not in file.metadata:
        raise ValueError(f"{path} needs a layout: --layout with a file or one of {_fitting(file)}. {_outputs(file)}")
    description = ModelDescription.from_json(file.metadata[KEY])
    if description.contract != RAW:
        return _of_boxes(file, description)
    return _decoding(file, described_layout(file, description), ())


def suppressed(found: Found, layout: Layout) -> Found:
    """Leave out detections that overlap a better one.

    Args:
        found: detections, the best first.
        layout: with the settings of NMS.

    Returns:
        The others, at most ``max_per_image``.
    """
    from ..runner.detect import Detections, nms

    boxes = Detections(found.boxes.astype(np.float32), found.scores.astype(np.float32), found.labels)
    return found.rows(nms(boxes, layout.iou_threshold, layout.class_agnostic, layout.max_per_image))


def _decoding(file: OnnxFile, layout: Layout, notes: tuple[str, ...]) -> OnnxDetector:
    """A file whose outputs are decoded here."""
    needed = sorted({part.output for part in (*layout.scores, *layout.sides, *layout.quality)})

    def find(pixels: np.ndarray) -> Found:
        height, width = pixels.shape[:2]
        frame = frame_of((width, height), layout.input)
        outputs = file.run(run_inputs(pixels, frame, layout.input), needed)
        return suppressed(decode(outputs, layout, frame), layout)

    return OnnxDetector(
        path=file.path,
        about=f"{layout.name}: {layout.summary()}",
        class_count=layout.class_count,
        classes=layout.classes,
        bins=layout.bins,
        with_std=True,
        settings=repr(replace(layout, name="")),
        notes=notes,
        find=find,
    )


def _of_boxes(file: OnnxFile, description: ModelDescription) -> OnnxDetector:
    """A file of this package that gives boxes."""
    from ..runner.detect import Detector

    detector = Detector(file.path)

    def find(pixels: np.ndarray) -> Found:
        found = detector(pixels)
        std = None if found.std is None else found.std.astype(np.float64)
        return Found(found.boxes.astype(np.float64), found.scores.astype(np.float64), found.labels, std)

    return OnnxDetector(
        path=file.path,
        about=f"{description.model}, contract {description.contract}, of gfl_plugin {description.version}",
        class_count=len(description.classes),
        classes=description.classes,
        bins=None,
        with_std=description.with_std,
        settings="",
        notes=(),
        find=find,
    )


def _fitting(file: OnnxFile) -> str:
    """The layouts that come along, with those first that the shapes of the file fit."""
    fitting = []
    for name in shipped_layouts():
        try:
            fit_layout(read_settings(name), file)
        except ValueError:
            continue
        fitting.append(name)
    others = [name for name in shipped_layouts() if name not in fitting]
    shapes = f" (its shapes fit {', '.join(fitting)})" if fitting else ""
    return f"{', '.join((*fitting, *others))}{shapes}"


def _outputs(file: OnnxFile) -> str:
    return f"Its outputs are {', '.join(f'{one.name} {shape_text(one.shape)}' for one in file.outputs)}"
