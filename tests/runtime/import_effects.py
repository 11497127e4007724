"""Prints, as JSON, what `import gfl_plugin` changes in a process that has already imported all other packages."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import json
import locale
import logging
import multiprocessing
import os
import random
import signal
import socket
import sys
import threading
import types
import warnings

if importlib.util.find_spec("mmcv._ext") is None:  # mmcv-lite; the baseline imports mmcv._ext

    class _Ops(types.ModuleType):
        def __getattr__(self, name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *args, **kwargs: None

    sys.modules["mmcv._ext"] = _Ops("mmcv._ext")

import mmdet.apis
import mmdet.datasets
import mmdet.engine
import mmdet.evaluation
import mmdet.models
import mmdet.registry
import mmengine.hub
import mmengine.infer
import mmengine.registry
import mmengine.runner
import numpy as np
import torch
from mmengine.fileio import backends

LIBRARIES = ("torch", "numpy", "mmengine", "mmcv", "mmdet")
calls: list[str] = []


def attributes() -> dict[str, object]:
    """All attributes of the modules of other packages, and of the classes defined in them."""
    found: dict[str, object] = {}
    for name, module in list(sys.modules.items()):
        if module is None or name.split(".")[0] not in LIBRARIES:
            continue
        for key, value in list(vars(module).items()):
            found[f"{name}.{key}"] = value
            if isinstance(value, type) and value.__module__ == name:
                found.update({f"{name}.{key}.{inner}": item for inner, item in list(vars(value).items())})
    return found


def settings() -> dict[str, object]:
    """Settings of the process, and of the packages, as comparable values."""
    root = logging.getLogger()
    return {
        "environment": dict(os.environ),
        "working folder": os.getcwd(),
        "sys.path": list(sys.path),
        "sys.meta_path": list(map(str, sys.meta_path)),
        "sys.path_hooks": list(map(str, sys.path_hooks)),
        "sys.excepthook": str(sys.excepthook),
        "recursion limit": sys.getrecursionlimit(),
        "warnings filters": list(map(str, warnings.filters)),
        "root logger": [root.level, list(map(str, root.handlers)), list(map(str, root.filters))],
        "logger levels": {name: logging.getLogger(name).level for name in ("mmengine", "mmdet", "mmcv", "torch")},
        "logging class": str(logging.getLoggerClass()),
        "signals": {str(one): str(signal.getsignal(one)) for one in signal.valid_signals()},
        "threads": threading.active_count(),
        "exit functions": atexit._ncallbacks(),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "socket timeout": socket.getdefaulttimeout(),
        "locale": locale.setlocale(locale.LC_ALL),
        "gc": gc.get_threshold(),
        "random": hash(random.getstate()),
        "NumPy random": hash(str(np.random.get_state())),  # noqa: NPY002  (the global generator)
        "NumPy errors": np.geterr(),
        "NumPy printing": {key: str(value) for key, value in np.get_printoptions().items()},
        "torch random": torch.get_rng_state().tolist(),
        "torch threads": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "torch types": [str(torch.get_default_dtype()), str(torch.get_default_device())],
        "torch gradients": [torch.is_grad_enabled(), torch.is_anomaly_enabled(), torch.is_inference_mode_enabled()],
        "torch determinism": [torch.are_deterministic_algorithms_enabled(), torch.get_deterministic_debug_mode()],
        "torch precision": [torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32],
        "cuDNN": [torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.enabled],
        "torch flushes denormals": torch.tensor([1e-310], dtype=torch.float64).mul(1.0).item() == 0.0,
        "torch printing": str(vars(torch._tensor_str.PRINT_OPTS)),
        "distributed": torch.distributed.is_initialized(),
        "autocast": [torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()],
        "default scope": str(mmengine.registry.DefaultScope.get_current_instance()),
        "file backends": sorted(backends.registry_utils.backends),
        "registries": {
            f"{package.__name__}.{name}": sorted(registry.module_dict)
            for package in (mmengine.registry, mmdet.registry)
            for name, registry in sorted(vars(package).items())
            if isinstance(registry, mmengine.registry.Registry)
        },
        "numba is imported": "numba" in sys.modules,
    }


def recorder(name: str, function: object) -> object:
    def wrapped(*args: object, **kwargs: object) -> object:
        calls.append(name)
        return function(*args, **kwargs)

    return wrapped


before, settings_before = attributes(), settings()
if hasattr(os, "register_at_fork"):
    os.register_at_fork = recorder("os.register_at_fork", os.register_at_fork)
threading.Thread.start = recorder("threading.Thread.start", threading.Thread.start)
socket.socket.connect = recorder("socket.connect", socket.socket.connect)

import gfl_plugin  # noqa: E402

after, settings_after = attributes(), settings()
json.dump(
    {
        "version": gfl_plugin.__version__,
        "attributes": sorted(key for key in before if key not in after or after[key] is not before[key]),
        "settings": {
            key: [value, settings_after[key]] for key, value in settings_before.items() if value != settings_after[key]
        },
        "calls": calls,
        "safe globals": sorted(str(one[1]) for one in torch.serialization.get_safe_globals() if isinstance(one, tuple)),
        "children": sorted(
            f"{package.__name__}.{name}"
            for package in (mmengine.registry, mmdet.registry)
            for name, registry in vars(package).items()
            if isinstance(registry, mmengine.registry.Registry) and "gfl_plugin" in registry.children
        ),
    },
    sys.stdout,
)
