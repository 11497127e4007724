"""Generalized Focal Loss heads for MMDetection.

Name it in a config, and its classes can be named in that config::

    custom_imports = dict(imports=["gfl_plugin"], allow_failed_imports=False)
"""

__version__ = "0.1.0"

import importlib.util

from .install_advice import MissingPackageError, install_command

_missing = [name for name in ("torch", "mmengine", "mmcv", "mmdet") if importlib.util.find_spec(name) is None]
if _missing:
    raise MissingPackageError(
        f"gfl_plugin runs inside MMDetection and did not find: {', '.join(_missing)}. Install the versions it is "
        f"tested with by: {install_command('runtime', _missing)} (or bring your own mmdet 3.x with its mmcv and torch)."
    )

from .runtime import compat  # noqa: E402

compat.prepare()

from . import assigners, coders, heads, hooks, losses, quality  # noqa: E402
from .runtime import checkpoints  # noqa: E402
from .runtime.checkpoints import embedded_config  # noqa: E402
from .swap import swap_head  # noqa: E402

__all__ = [
    "assigners",
    "checkpoints",
    "coders",
    "compat",
    "embedded_config",
    "heads",
    "hooks",
    "losses",
    "quality",
    "swap_head",
    "__version__",
]
