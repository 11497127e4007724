"""A detection dataset that is generated in seconds without a network: handwritten digits in photographs.

The 1,797 digits (8×8 pixels) and the two photographs come with scikit-learn. Digits are drawn over a crop of a
photograph, with heights of 12 to 45 % of the image, or all of them tiny or large (``DIGITS``). Some are blurred, faded
or half covered by a patch of a photograph, so that their boundary is ambiguous; box distributions can represent that.
Their box is still that of the whole digit. The sides of the training annotations can have noise of a known law
(``annotation_noise``); pictures and validation annotations are the same with and without it. With the same library
versions, equal seeds give equal files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ..runtime.install_advice import module_or_advice
from .annotation_noise import AnnotationNoise, check_laws

# Conditions of a digit, and their probabilities.
_CONDITIONS = {"clear": 0.52, "blurred": 0.16, "faded": 0.16, "covered": 0.16}
_MAX_OVERLAP = 0.1  # of two digits: shared area divided by the area of the smaller box


@dataclass(frozen=True)
class Digits:
    """Number and height of the digits of an image."""

    count: tuple[int, int]  # least and largest number; a digit that would overlap another one too much is skipped
    heights: tuple[float, float]  # least and largest height; their logarithm is uniform
    in_pixels: bool  # heights are in pixels; otherwise in sides of the image
    least: int  # pixels; smaller heights are enlarged to it
    narrowest: int = 0  # pixels; digits whose ink is narrower are left out
    conditions: tuple[str, ...] = tuple(_CONDITIONS)  # of which each digit has one
    recognized: bool = True  # whether each of the digits 0 to 9 is a class; otherwise all are of the class "digit"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple("0123456789") if self.recognized else ("digit",)

    def height(self, random: np.random.Generator, side: int) -> float:
        """Draw the height of a digit in pixels, for images of ``side`` pixels."""
        low, high = (value if self.in_pixels else side * value for value in self.heights)
        return float(np.exp(random.uniform(np.log(low), np.log(high))))


USUAL = "usual"
DIGITS = {
    USUAL: Digits(count=(3, 10), heights=(0.12, 0.45), in_pixels=False, least=8),
    # Both sides are shorter than 8 pixels, the stride of the finest level of the usual pyramids.
    "tiny": Digits(count=(12, 24), heights=(4.6, 7.4), in_pixels=True, least=1),
    "large": Digits(count=(4, 8), heights=(0.6, 0.97), in_pixels=False, least=8),
    # One class of large objects, under all conditions.
    "one_class": Digits(count=(1, 4), heights=(0.25, 0.8), in_pixels=False, least=8, recognized=False),
    # For annotation noise: boxes are large enough to keep a positive size, the distances to their sides end below the
    # paper's last bin on a level of stride 8, 128 pixels, and the picture shows every true side clearly. With one class
    # a short training suffices for confident detections.
    "broad": Digits(
        count=(4, 8),
        heights=(64, 110),
        in_pixels=True,
        least=8,
        narrowest=40,
        conditions=("clear",),
        recognized=False,
    ),
}


@dataclass(frozen=True)
class DemoSize:
    """Number and size of the images, and of their digits."""

    train: int = 600  # images
    val: int = 150  # images
    side: int = 160  # pixels, width and height of an image
    digits: str = USUAL  # key of DIGITS
    # Laws of the left, top, right and bottom sides of the training annotations, keys of annotation_noise.LAWS.
    noise: tuple[str, str, str, str] | None = None


def make_dataset(
    root: Path, size: DemoSize = DemoSize(), seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write ``train/`` and ``val/`` (PNG), ``train.json`` and ``val.json`` (COCO's format), unless they exist.

    Training and validation have no digit in common.

    Args:
        root: folder of the dataset; it is created if it does not exist.
        size: number and size of the images.
        seed: random seed.
        progress: function that is called with the number of finished images and the number of all images.

    Returns:
        ``root``.

    Raises:
        FileExistsError: if the folder contains a dataset of another size or seed.
        ValueError: if ``size.digits`` or a law of ``size.noise`` is unknown, or noise makes a box too small.
        MissingPackageError: if scikit-learn, which contains the digits and photographs, is not installed.
    """
    if size.digits not in DIGITS:
        raise ValueError(f"DemoSize.digits is {size.digits!r}; it must be one of {', '.join(DIGITS)}")
    if size.noise is not None:
        check_laws(size.noise)
    recipe = {"train": size.train, "val": size.val, "side": size.side, "seed": seed}
    if size.digits != USUAL:  # datasets from before there were others have no such entry
        recipe["digits"] = size.digits
    if size.noise is not None:
        recipe["noise"] = list(size.noise)
    recipe_file = root / "recipe.json"
    if recipe_file.exists():
        found = json.loads(recipe_file.read_text())
        if found != recipe:
            raise FileExistsError(
                f"{root} contains a demo dataset with the settings {found}, not {recipe}; use another folder"
            )
        return root
    photographs, digits, labels = _sources()
    order = np.random.default_rng(seed).permutation(len(digits))
    held_out = len(digits) // 5
    parts = {"train": (size.train, order[held_out:]), "val": (size.val, order[:held_out])}
    done = 0
    for number, (name, (count, pool)) in enumerate(parts.items()):
        random = np.random.default_rng([seed, number])
        # Its own random numbers, so that the pictures do not depend on the noise. The true sides of the validation
        # digits are needed to see what a detector has learned, so their annotations have no noise.
        noise = AnnotationNoise(size.noise, np.random.default_rng([seed, number, 1])) if _noisy(size, name) else None
        (root / name).mkdir(parents=True, exist_ok=True)
        images, annotations = [], []
        for index in range(count):
            file_name = f"{index:05d}.png"
            picture, objects = _compose(random, photographs, digits, labels, pool, size)
            picture.save(root / name / file_name)
            images.append({"id": index, "file_name": file_name, "width": size.side, "height": size.side})
            for label, box, condition in objects:
                annotated = box if noise is None else noise.displaced(box)
                annotations.append(_annotation(len(annotations) + 1, index, label, annotated, condition))
            done += 1
            if progress is not None:
                progress(done, size.train + size.val)
        categories = [{"id": i, "name": name} for i, name in enumerate(DIGITS[size.digits].classes)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{name}.json").write_text(json.dumps(content))
    recipe_file.write_text(json.dumps(recipe))  # written last, since it marks a complete dataset
    return root


def _noisy(size: DemoSize, part: str) -> bool:
    return size.noise is not None and part == "train"


def _sources() -> tuple[list[Image.Image], np.ndarray, np.ndarray]:
    """The photographs, and (N, 8, 8) digits in [0, 1] with their labels."""
    datasets = module_or_advice("sklearn.datasets", "demo")
    digits = datasets.load_digits()
    photographs = datasets.load_sample_images().images
    return [Image.fromarray(image) for image in photographs], digits.images / 16.0, digits.target


def _annotation(number: int, image: int, label: int, box: tuple[float, ...], condition: str) -> dict:
    x1, y1, x2, y2 = box
    return {
        "id": number,  # at least 1: pycocotools counts a match with the annotation 0 as none
        "image_id": image,
        "category_id": label,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": 0,
        "condition": condition,
    }


def _compose(
    random: np.random.Generator,
    photographs: list[Image.Image],
    digits: np.ndarray,
    labels: np.ndarray,
    pool: np.ndarray,
    size: DemoSize,
) -> tuple[Image.Image, list[tuple[int, tuple[float, ...], str]]]:
    """An image, and the label, box and condition of each of its digits."""
    kind, side = DIGITS[size.digits], size.side
    canvas = np.asarray(_crop(random, photographs, side), dtype=np.float64)
    objects: list[tuple[int, tuple[float, ...], str]] = []
    for _ in range(int(random.integers(kind.count[0], kind.count[1] + 1))):
        which = int(random.choice(pool))
        height = kind.height(random, side)
        condition = _condition(random, kind.conditions)
        mask, box = _stroke(digits[which], max(kind.least, round(height)))
        if box is None or box[2] - box[0] < kind.narrowest:
            continue
        if condition == "blurred":
            radius = float(random.uniform(0.025, 0.06)) * height
            mask, box = _blurred(mask, box, radius)
        if max(mask.shape) > side:  # the margin of a large blurred digit
            continue
        x = int(random.integers(0, side - mask.shape[1] + 1))
        y = int(random.integers(0, side - mask.shape[0] + 1))
        box = (box[0] + x, box[1] + y, box[2] + x, box[3] + y)
        if any(_overlap(box, other) > _MAX_OVERLAP for _, other, _ in objects):
            continue
        opacity = float(random.uniform(0.3, 0.5)) if condition == "faded" else 1.0
        area = canvas[y : y + mask.shape[0], x : x + mask.shape[1]]
        # Bright ink on a dark background, or dark ink on a bright one; the color is random.
        ink = random.uniform(0, 70, size=3) if area.mean() > 128 else random.uniform(185, 255, size=3)
        alpha = (opacity / 255.0) * mask[..., None].astype(np.float64)
        area[:] = area * (1 - alpha) + ink * alpha
        if condition == "covered":
            _cover(random, canvas, box, photographs)
        objects.append((int(labels[which]) if kind.recognized else 0, tuple(float(v) for v in box), condition))
    return Image.fromarray(canvas.round().astype(np.uint8)), objects


def _condition(random: np.random.Generator, among: tuple[str, ...]) -> str:
    """One of the conditions, with probabilities in the ratio of ``_CONDITIONS``."""
    weights = np.array([_CONDITIONS[name] for name in among])
    return str(random.choice(list(among), p=weights / weights.sum()))


def _crop(random: np.random.Generator, photographs: list[Image.Image], side: int) -> Image.Image:
    """A random square of a random photograph, resized to ``side``, mirrored with probability 0.5."""
    photograph = photographs[int(random.integers(len(photographs)))]
    extent = int(random.integers(side // 2, min(photograph.size) + 1))
    x = int(random.integers(0, photograph.width - extent + 1))
    y = int(random.integers(0, photograph.height - extent + 1))
    crop = photograph.crop((x, y, x + extent, y + extent)).resize((side, side), Image.Resampling.BILINEAR)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else crop


def _stroke(digit: np.ndarray, extent: int) -> tuple[np.ndarray, tuple[int, ...] | None]:
    """Opacity (H, W) uint8 of a digit of ``extent`` pixels, and the box of its ink; None if there is no ink."""
    small = Image.fromarray((digit * 255).astype(np.uint8))
    smooth = np.asarray(small.resize((extent, extent), Image.Resampling.BICUBIC), dtype=np.float64)
    # Enlarging by a factor of 8 or more blurs a digit; this sharpens its edge.
    mask = np.clip((smooth - 60) * 2.5, 0, 255).astype(np.uint8)
    rows, columns = np.nonzero((mask > 100).any(axis=1))[0], np.nonzero((mask > 100).any(axis=0))[0]
    if not len(rows):
        return mask, None
    return mask, (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _blurred(mask: np.ndarray, box: tuple[int, ...], radius: float) -> tuple[np.ndarray, tuple[int, ...]]:
    """A blurred digit, padded so that nothing is cut off; its box is that of the sharp digit."""
    margin = round(2 * radius)
    room = Image.fromarray(np.pad(mask, margin))
    return np.asarray(room.filter(ImageFilter.GaussianBlur(radius))), tuple(value + margin for value in box)


def _cover(
    random: np.random.Generator, canvas: np.ndarray, box: tuple[float, ...], photographs: list[Image.Image]
) -> None:
    """Cover 30 to 50 % of a box from one of its sides with a patch of a photograph that reaches beyond the box."""
    x1, y1, x2, y2 = (int(v) for v in box)
    part, margin = float(random.uniform(0.3, 0.5)), random.uniform(0.05, 0.15, size=3)
    width, height = x2 - x1, y2 - y1
    side = int(random.integers(4))
    # The patch is larger than the box, since otherwise its edge would reveal the boundary of the digit.
    top, bottom = y1 - round(height * margin[1]), y2 + round(height * margin[2])
    left, right = x1 - round(width * margin[1]), x2 + round(width * margin[2])
    if side == 0:
        left, right = x1 - round(width * margin[0]), x1 + round(width * part)
    elif side == 1:
        left, right = x2 - round(width * part), x2 + round(width * margin[0])
    elif side == 2:
        top, bottom = y1 - round(height * margin[0]), y1 + round(height * part)
    else:
        top, bottom = y2 - round(height * part), y2 + round(height * margin[0])
    patch = np.asarray(_crop(random, photographs, max(canvas.shape[:2])), dtype=np.float64)
    top, left = max(top, 0), max(left, 0)
    canvas[top:bottom, left:right] = patch[top:bottom, left:right]


def _overlap(box: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Shared area of two boxes divided by the area of the smaller one."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    smaller = min((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return max(width, 0) * max(height, 0) / smaller
