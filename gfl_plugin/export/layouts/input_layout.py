"""Finds out how images become the input of a file: from its layout, and from what the file says itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..model_description import NO_PREPROCESSING
from .layout import STRETCH, InputLayout
from .onnx_file import OnnxFile, Tensor, shape_text
from .settings import Settings

_IMAGE_TYPES = ("float32", "float16", "uint8")
_REQUIRED = ("color", "mean", "std", "resize")


def input_layout(settings: Settings, file: OnnxFile) -> InputLayout:
    """Find out how images become the input.

    Args:
        settings: the layout's keys.
        file: the ONNX file.

    Returns:
        The input.

    Raises:
        ValueError: if the layout lacks a key, or does not fit the inputs of the file.
    """
    values = settings.values
    image = _image_input(settings, file)
    batch, *rest = image.shape
    channels_first = rest[0] == 3 or rest[2] != 3
    height, width = rest[1:] if channels_first else rest[:2]
    size = _size(settings, (width, height), file)
    require(settings, _REQUIRED)
    fixed = width is not None and height is not None
    return InputLayout(
        name=image.name,
        batch=batch or 1,
        channels_first=channels_first,
        dtype=image.dtype,
        inside=NO_PREPROCESSING,
        size=size,
        size_divisor=None if fixed or values["resize"] == STRETCH else values.get("size_divisor"),
        either_orientation=False,
        resize=values["resize"],
        interpolation=values.get("interpolation", "bilinear"),
        color=values["color"],
        mean=tuple(values["mean"]),
        std=tuple(values["std"]),
        pad_value=_three(values.get("pad_value", 0)),
        sizes_name=None,
        constants=_constants(settings, file, image),
    )


def require(settings: Settings, keys: tuple[str, ...]) -> None:
    """Check that a layout has keys.

    Args:
        settings: the layout's keys.
        keys: that it must have.

    Raises:
        ValueError: if one is missing.
    """
    missing = [f'"{key}"' for key in keys if key not in settings.values]
    if missing:
        raise ValueError(
            f"{settings.name} lacks the key{'s' if len(missing) > 1 else ''} {', '.join(missing)}; write "
            f'{"them" if len(missing) > 1 else "it"}, or a "base" that has {"them" if len(missing) > 1 else "it"}'
        )


def listed(tensors: tuple[Tensor, ...]) -> str:
    """Inputs or outputs for a message.

    Args:
        tensors: of a file.

    Returns:
        Their names and shapes.
    """
    return ", ".join(map(str, tensors))


def _image_input(settings: Settings, file: OnnxFile) -> Tensor:
    """The input for images."""
    name = settings.values.get("input")
    if name is None:
        candidates = [one for one in file.inputs if _is_image(one) and one.name not in _others(settings)]
        if len(candidates) != 1:
            what = "no input for images" if not candidates else "more than one input that may be for images"
            raise ValueError(
                f'{file.path} has {what}, (B, 3, H, W) or (B, H, W, 3): write its name as "input"; the file has '
                f"{listed(file.inputs)}"
            )
        return candidates[0]
    found = [one for one in file.inputs if one.name == name]
    if not found:
        raise ValueError(f'"input" of {settings.name} is {name!r}; {file.path} has the inputs {listed(file.inputs)}')
    if not _is_image(found[0]):
        raise ValueError(
            f"the input {found[0]} of {file.path} has the type {found[0].type}; images need (B, 3, H, W) or "
            f"(B, H, W, 3) of {', '.join(_IMAGE_TYPES)}"
        )
    return found[0]


def _is_image(one: Tensor) -> bool:
    channels = one.shape[1::2] if len(one.shape) == 4 else ()
    return one.dtype in _IMAGE_TYPES and any(count in (3, None) for count in channels)


def _size(settings: Settings, fixed: tuple[int | None, int | None], file: OnnxFile) -> tuple[int, int]:
    """Width and height: those of the file; of the layout where the file leaves them open."""
    wanted = settings.values.get("size")
    if wanted is None:
        if None in fixed:
            raise ValueError(
                f'{file.path} takes images of any size ({listed(file.inputs)}): write the "size" at which it is to be '
                "run into the layout, such as [640, 640]"
            )
        return fixed
    wanted = (wanted, wanted) if isinstance(wanted, int) else tuple(wanted)
    if any(own not in (None, asked) for own, asked in zip(fixed, wanted)):
        raise ValueError(
            f'"size" of {settings.name} is {wanted[0]} x {wanted[1]} (width x height); {file.path} takes '
            f"{' x '.join('?' if one is None else str(one) for one in fixed)}"
        )
    return wanted


def _three(value: float | list[float]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, list) else (value,) * 3


def _others(settings: Settings) -> Mapping[str, list]:
    return settings.values.get("other_inputs", {})


def _constants(settings: Settings, file: OnnxFile, image: Tensor) -> tuple[tuple[str, tuple], ...]:
    """Values of all inputs except for the image."""
    needed = {one.name: one for one in file.inputs if one.name != image.name}
    given = _others(settings)
    for name in given.keys() - needed.keys():
        raise ValueError(
            f'"other_inputs" of {settings.name} has {name!r}; {file.path} has the inputs {listed(file.inputs)}'
        )
    for name in needed.keys() - given.keys():
        raise ValueError(
            f"{file.path} also needs the input {needed[name]}: write its value into the layout, such as "
            f'"other_inputs": {{"{name}": [[1, 1]]}}'
        )
    for name, value in given.items():
        _check_constant(settings, needed[name], value)
    return tuple((name, _frozen(value)) for name, value in given.items())


def _check_constant(settings: Settings, one: Tensor, value: list) -> None:
    try:
        shape = np.asarray(value, one.dtype).shape if one.dtype else None
    except (TypeError, ValueError):
        shape = None
    fits = shape is not None and len(shape) == len(one.shape)
    if not fits or any(own not in (None, length) for own, length in zip(one.shape, shape)):
        found = "no array of numbers" if shape is None else shape_text(shape)
        raise ValueError(f'"other_inputs" of {settings.name}: the input {one} ({one.type}) got {found}')


def _frozen(value: object) -> object:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
