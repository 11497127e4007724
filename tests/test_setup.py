"""The versions in setup.py, README and ruff.toml agree with each other and with the installed packages."""

from __future__ import annotations

import re
import runpy
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

PYTHONS = [f"3.{minor}" for minor in range(6, 20)]


@pytest.fixture(scope="module")
def described(root: Path) -> dict[str, Any]:
    """The arguments that setup.py passes to setuptools."""
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **settings: found.update(settings))
        runpy.run_path(str(root / "setup.py"))
    return found


def test_the_pinned_torch_supports_every_listed_python(described: dict[str, Any]) -> None:
    promised, torch = SpecifierSet(described["python_requires"]), metadata.metadata("torch")["Requires-Python"]
    assert [one for one in PYTHONS if one in promised and one not in SpecifierSet(torch)] == []


def test_readme_and_linter_name_the_oldest_python(described: dict[str, Any], root: Path) -> None:
    oldest = next(one for one in PYTHONS if one in SpecifierSet(described["python_requires"]))
    named = [re.search(r":: (3\.\d+)$", line) for line in described["classifiers"]]
    assert oldest == min((one[1] for one in named if one), key=Version)
    assert f"Python {oldest} " in (root / "README.md").read_text()
    assert f'target-version = "py{oldest.replace(".", "")}"' in (root / "ruff.toml").read_text()


def test_installed_packages_meet_the_requirements(described: dict[str, Any]) -> None:
    """Each installed package of the extras has a version that they allow."""
    wrong = []
    for text in {one for extra in described["extras_require"].values() for one in extra}:
        requirement = Requirement(text)
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{text}: {version}")
    assert wrong == []


def test_setuptools_is_not_a_requirement(described: dict[str, Any]) -> None:
    assert not any(Requirement(one).name == "setuptools" for one in described["extras_require"]["runtime"])
