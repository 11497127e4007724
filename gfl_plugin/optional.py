"""What may be used only in places: packages that need not be installed, and the values of tensors."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from types import ModuleType

import torch
from torch import Tensor

from .install_advice import MissingPackageError, install_command

_DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # names that pip knows, where they differ from the module's


@functools.cache
def installed(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def readable(tensor: Tensor) -> bool:
    """Whether looking at a tensor's values costs nothing.

    A GPU would have to be waited for, and a function that torch.compile traces has no values yet.
    """
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def module_or_advice(name: str, extra: str) -> ModuleType:
    """An optional package's module.

    Args:
        name: of the module, such as ``sklearn.datasets``.
        extra: of this package's, which brings it.

    Raises:
        MissingPackageError: where it is not installed; the message says what installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = _DISTRIBUTIONS.get(name.split(".")[0], name.split(".")[0])
        raise MissingPackageError(
            f"{package} is not installed; install it by: {install_command(extra, [package])}"
        ) from error
