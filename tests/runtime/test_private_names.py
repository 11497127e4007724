"""Private names of other packages: all are in one table, all exist, and the docs show the tables."""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
from compat_document import DOCUMENT, files_by_name, files_of, uses, with_tables

import gfl_plugin  # noqa: F401  # isort: skip
from gfl_plugin.runtime.compat.private_names import PRIVATE_NAMES, PrivateName
from gfl_plugin.runtime.distributions import provider

USES = files_by_name()
EXPECTED = [one for one in PRIVATE_NAMES if not one.only_in or provider(one.path.split(".")[0]).name == one.only_in]


@pytest.mark.parametrize("one", EXPECTED, ids=lambda one: one.path)
def test_each_exists_in_the_installed_versions(one: PrivateName) -> None:
    if one.path.startswith("numpy.") and np.lib.NumpyVersion(np.__version__) < "2.0.0":
        pytest.skip("the name was introduced in NumPy 2")
    *parents, name = one.path.split(".")
    found = importlib.import_module(parents[0])
    for number, parent in enumerate(parents[1:], 2):
        if not hasattr(found, parent):
            importlib.import_module(".".join(parents[:number]))
        found = getattr(found, parent)
    if not hasattr(found, name):
        try:
            importlib.import_module(one.path)
        except ImportError:  # an attribute of instances
            classes = inspect.getmro(found) if isinstance(found, type) else [found]
            own = (kind for kind in classes if kind is not object)
            assert any(re.search(rf"\b{name}\b", inspect.getsource(kind)) for kind in own), one.path


@pytest.mark.parametrize("one", PRIVATE_NAMES, ids=lambda one: one.path)
def test_each_is_used(one: PrivateName) -> None:
    assert files_of(one.path, USES), f"{one.path} is not used: remove it from PRIVATE_NAMES"


def test_no_use_is_missing() -> None:
    known = {part for one in PRIVATE_NAMES for part in one.path.split(".")}
    missing = {name: files for name, files in USES.items() if name not in known}
    assert not missing, f"add to PRIVATE_NAMES in runtime/compat/private_names.py: {missing}"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from mmengine.config import _x", {"_x"}),
        ("import torch._dynamo.config", {"_dynamo"}),
        ("from ..own import _x", set()),
        ("config._x(1)", {"_x"}),
        ("self._x = 1\nother._x", set()),
        ("class A:\n    def _x(self):\n        super()._x()", {"_x"}),
        ("getattr(model, '_x', 1)", {"_x"}),
        ("names = ('torch._utils _rebuild',)", {"_utils", "_rebuild"}),
        ("'_base_ and _delete_'", set()),
        ("'an _x-like text: (_y)'", set()),
        ("a.__class__, a.x, '__main__'", set()),
    ],
)
def test_uses_are_found(code: str, found: set[str]) -> None:
    assert uses(Path("a.py"), textwrap.dedent(code)) == found


def test_inherited_names_are_found() -> None:
    """Names are found in calls on self and in overridden methods."""
    assert "hooks/whole_checkpoint_hook.py" in USES["_save_best_checkpoint"]
    assert "runtime/sharding.py" in USES["_is_full_state_dict"]
    assert "_failures" not in USES  # the hook's own


def test_the_docs_show_the_tables() -> None:
    text = DOCUMENT.read_text()
    assert with_tables(text) == text, "run: python tests/compat_document.py"
