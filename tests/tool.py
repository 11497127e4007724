"""Runs tools in the process of the test, because a new process takes seconds to load PyTorch and MMDetection.

A test that needs a separate process (imports, registries, exit status, signals) starts one.
"""

from __future__ import annotations

import contextlib
import io
import runpy
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import pytest
import torch


def run_tool(script: Path, *arguments: object, **environment: object) -> subprocess.CompletedProcess:
    """Run a script as ``python SCRIPT ARGUMENTS`` does.

    Args:
        script: the file.
        *arguments: the command line.
        **environment: variables set while it runs.

    Returns:
        Exit status and output, as from ``subprocess.run(..., capture_output=True, text=True)``.
    """
    out, errors = io.StringIO(), io.StringIO()
    threads = torch.get_num_threads()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
        warnings.catch_warnings(),
    ):
        patch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        patch.setattr(sys, "path", list(sys.path))
        for name, value in environment.items():
            patch.setenv(name, str(value))
        status = _status(script)
    torch.set_num_threads(threads)
    return subprocess.CompletedProcess([str(script), *map(str, arguments)], status, out.getvalue(), errors.getvalue())


def _status(script: Path) -> int:
    """Run the script and return the exit status that Python would set."""
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    return 0
