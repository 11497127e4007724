"""Fits a layout to an ONNX file: what the keys leave open is read from the file, and contradictions are errors."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .activations import activation
from .arrangement import Arrangement, arranged, candidate_strides, level_sizes
from .channels import Channels, assigned_channels
from .frame import Frame, input_array
from .input_layout import input_layout, listed, require
from .layout import SIDE_MAJOR, InputLayout, Layout
from .onnx_file import OnnxFile, shape_text
from .parts import read_parts, split_sides
from .settings import Settings

_ROLES = ("joined", "scores", "sides")
_DEFAULTS = {
    "score_threshold": 0.05,
    "topk": 1000,
    "iou_threshold": 0.6,
    "class_agnostic": False,
    "max_per_image": 100,
}


@dataclass(frozen=True)
class Fitted:
    """A layout that fits a file."""

    layout: Layout
    notes: tuple[str, ...]  # sentences for people about what the file has instead of what the layout says


def fit_layout(settings: Settings, file: OnnxFile) -> Fitted:
    """Fit a layout to a file. The network runs once, on noise, to see the shapes and numbers that it gives.

    Args:
        settings: the layout's keys.
        file: the ONNX file.

    Returns:
        The layout.

    Raises:
        ValueError: if the layout lacks a key or does not fit; the message names what the file has.
    """
    settings = _with_class_names(settings, file)
    own_input = input_layout(settings, file)
    require(settings, ("offset",))
    _check_names(settings, file)
    size, outputs = _run_on_noise(own_input, file)
    shapes = {name: one.shape for name, one in outputs.items()}
    try:
        arrangement = _arrangement(settings, shapes, size)
        channels = assigned_channels(settings, arrangement)
    except ValueError as error:
        raise ValueError(f"{settings.name} does not fit {file.path}: {error}. {_found(shapes)}") from None
    scores, of_scores = activation(settings, "scores", read_parts(outputs, channels.scores))
    bin_order = settings.values.get("bin_order", SIDE_MAJOR)
    sides, of_sides = activation(settings, "sides", split_sides(read_parts(outputs, channels.sides), bin_order))
    values = {**_DEFAULTS, **settings.values}
    layout = Layout(
        name=settings.name,
        input=own_input,
        scores=channels.scores,
        sides=channels.sides,
        quality=(),
        scores_are=scores,
        sides_are=sides,
        bin_order=bin_order,
        bins=_bins(settings, channels),
        strides=arrangement.strides,
        offset=float(values["offset"]),
        class_count=channels.classes,
        classes=tuple(values["classes"]) if isinstance(values.get("classes"), list) else None,
        **{name: values[name] for name in _DEFAULTS},
    )
    return Fitted(layout, tuple(note for note in (of_scores, of_sides) if note))


def run_inputs(pixels: np.ndarray, frame: Frame, layout: InputLayout) -> dict[str, np.ndarray]:
    """All inputs for an image.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        frame: where it lies in the input.
        layout: of the input.

    Returns:
        Arrays by name.
    """
    inputs = {layout.name: input_array(pixels, frame, layout)}
    if layout.sizes_name is not None:
        inputs[layout.sizes_name] = np.repeat(np.array([frame.resized[::-1]], np.int64), layout.batch, axis=0)
    for name, value in layout.constants:
        array = np.asarray(value)
        inputs[name] = array if array.dtype.kind in "iu" else array.astype(np.float32)
    return inputs


def _run_on_noise(layout: InputLayout, file: OnnxFile) -> tuple[tuple[int, int], dict[str, np.ndarray]]:
    """Width and height of an input, and the outputs for it."""
    width, height = layout.size
    if layout.size_divisor is not None:
        width, height = (-(-one // layout.size_divisor) * layout.size_divisor for one in (width, height))
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    frame = Frame((width, height), (width, height), (0, 0), (width, height))
    outputs = file.run(run_inputs(pixels, frame, layout))
    return (width, height), outputs


def _check_names(settings: Settings, file: OnnxFile) -> None:
    """Check that the outputs that a layout names exist."""
    values = settings.values
    if ("scores" in values) != ("sides" in values):
        present = "scores" if "scores" in values else "sides"
        raise ValueError(f'{settings.name} has "{present}" alone; write both "scores" and "sides", or "joined"')
    if "joined" in values and "scores" in values:
        raise ValueError(f'{settings.name} has "joined" beside "scores" and "sides"; write one of them')
    known = {one.name for one in file.outputs}
    for key in _ROLES:
        for name in _names(settings, key):
            if name not in known:
                raise ValueError(
                    f'"{key}" of {settings.name} names the output {name!r}; {file.path} has {listed(file.outputs)}'
                )


def _names(settings: Settings, key: str) -> list[str]:
    value = settings.values.get(key, [])
    return [value] if isinstance(value, str) else value


def _arrangement(settings: Settings, shapes: Mapping[str, tuple[int, ...]], size: tuple[int, int]) -> Arrangement:
    """The outputs on the levels of the layout's strides; where nobody wrote strides, of those that the shapes say."""
    named = [_names(settings, role) for role in _ROLES]
    used = {name: shapes[name] for names in named for name in names} or shapes
    axis = settings.values.get("channel_axis", "last")
    said = settings.values.get("strides")
    candidates = [tuple(said)] if said else []
    if "strides" not in settings.own:
        candidates += candidate_strides(size)
    for strides in candidates:
        found = arranged(used, size, strides, axis)
        if found is not None:
            _check_order(settings, found)
            return found
    if not said:
        raise ValueError(
            f"the outputs fit no levels with strides of powers of two, for an input of {size[0]} x {size[1]} pixels; "
            'if the strides are others, write "strides"'
        )
    counts = [rows * columns for rows, columns in level_sizes(size, said)]
    raise ValueError(
        f"with an input of {size[0]} x {size[1]} pixels, the strides {', '.join(map(str, said))} have "
        f"{' + '.join(map(str, counts))} = {sum(counts)} locations, which the outputs do not have"
        + (f", nor do they fit other powers of two{_hint(shapes)}" if "strides" not in settings.own else "")
    )


def _hint(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What outputs without levels probably are."""
    if any(len(shape) == 3 and shape[2] in (6, 7) for shape in shapes.values()):
        return " (they look like final detections: export the network without post-processing)"
    return ""


def _check_order(settings: Settings, arrangement: Arrangement) -> None:
    """Check that the names of a role are in the order of the levels."""
    for role in _ROLES:
        names = _names(settings, role)
        places = {one.name: level for level, row in enumerate(arrangement.outputs) for one in row}
        if [places[name] for name in names] != list(range(len(names))):
            raise ValueError(
                f'"{role}" is {", ".join(names)}, which is not one output per level in the order of the strides '
                f"{', '.join(map(str, arrangement.strides))}"
            )


def _bins(settings: Settings, channels: Channels) -> tuple[float, ...]:
    bins = settings.values.get("bins")
    if isinstance(bins, list) and len(bins) == channels.bins:
        return tuple(map(float, bins))
    return tuple(map(float, range(channels.bins)))


def _with_class_names(settings: Settings, file: OnnxFile) -> Settings:
    """The keys with the names of the classes that the file has, if the layout does not say them."""
    names = _metadata_names(file)
    if names is None or "classes" in settings.values:
        return settings
    return replace(settings, values={**settings.values, "classes": names})


def _metadata_names(file: OnnxFile) -> list[str] | None:
    """The names of the classes in the metadata of a file, where Ultralytics writes them as text of a dict."""
    try:
        names = ast.literal_eval(file.metadata.get("names", ""))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    if isinstance(names, dict):
        names = [names.get(number) for number in range(len(names))]
    fits = isinstance(names, list) and names and all(isinstance(name, str) for name in names)
    return names if fits else None


def _found(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return f"The outputs are {', '.join(f'{name} {shape_text(shape)}' for name, shape in shapes.items())}"
