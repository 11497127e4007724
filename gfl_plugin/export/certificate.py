"""The certificate of an exported file: what it finds in real images, compared with the PyTorch model."""

from __future__ import annotations

from dataclasses import dataclass

from .detection_difference import Difference
from .model_description import ModelDescription

BOX_LIMIT = 1e-3  # pixels of the original image; also of standard deviations
SCORE_LIMIT = 1e-4
PIXEL_LIMIT = 1  # grey levels, of a resized image to OpenCV's


@dataclass(frozen=True)
class Case:
    """Differences for one kind of images."""

    name: str
    difference: Difference

    @property
    def passes(self) -> bool:
        """Whether the differences are within the limits."""
        own = self.difference
        # Differences that are not numbers are not within the limits.
        within = own.boxes <= BOX_LIMIT and own.scores <= SCORE_LIMIT and (own.std is None or own.std <= BOX_LIMIT)
        return within and own.one_sided == 0


@dataclass(frozen=True)
class Certificate:
    """What was compared, on what, with which result."""

    description: ModelDescription  # of the file
    file_hash: str  # SHA-256 of the file
    opset: int
    versions: dict[str, str]  # of the packages, by name
    machine: str
    date: str  # ISO 8601, UTC
    split: str  # data loader of the config, without ``_dataloader``
    total: int  # images of the split
    cases: tuple[Case, ...]  # both sides get the same pixels
    # The runner reads and resizes the image files itself, with Pillow and NumPy: compared with the config's pipeline;
    # None if the data set does not name its files.
    from_files: Case | None
    pixels: int | None  # largest difference of what the file resizes to OpenCV's, grey levels; None if it does not
    ap: dict[str, float]  # percent, by what was measured; empty for images without annotations

    @property
    def passes(self) -> bool:
        """Whether the file gives the PyTorch model's detections."""
        return all(case.passes for case in self.cases) and (self.pixels is None or self.pixels <= PIXEL_LIMIT)
