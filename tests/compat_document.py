"""Creates the tables of docs/compat.md from the code: patches, and private names of other packages.

As a script, it writes them into the document.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "gfl_plugin"
DOCUMENT = ROOT / "docs" / "compat.md"
LIBRARIES = ("mmengine", "mmdet", "mmcv", "torch", "numpy")
TABLE = "gfl_plugin/runtime/compat/private_names.py"
DOCUMENTED = {"_base_", "_delete_"}  # keys that MMEngine documents for configs
# Standard library: names in pickles, a module, and methods of file objects.
_OTHER = {"_codecs"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name.strip("_") != "" and name not in DOCUMENTED


def uses(path: Path, source: str | None = None) -> set[str]:
    """Private names of other packages in a file: imported, accessed, overridden, or named in a string."""
    tree = ast.parse(path.read_text() if source is None else source)
    own = set(_defined(tree))
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module.split(".")[0] in LIBRARIES:
            found.update([*node.module.split("."), *(alias.name for alias in node.names)])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in LIBRARIES:
                    found.update(alias.name.split("."))
        elif isinstance(node, ast.Attribute) and (_is_super(node.value) or node.attr not in own):
            if not _is_self(node.value):
                found.add(node.attr)
        elif isinstance(node, ast.Constant) and id(node) not in parts and re.fullmatch(r"[\w. ]+", str(node.value)):
            found.update(name for name in re.split(r"[. ]", str(node.value)) if name not in own)
        elif isinstance(node, ast.ClassDef) and source is None:
            found.update(_inherited(path, node))
    return {name for name in found - _OTHER if is_private(name)}


def _defined(tree: ast.AST) -> Iterator[str]:
    """Names that a file defines: functions, classes, variables, arguments and attributes of self."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_self(node.value):
            yield node.attr
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "self.__dict__":
            yield ast.literal_eval(node.slice)


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _is_super(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _inherited(path: Path, node: ast.ClassDef) -> Iterator[str]:
    """Private names of a class that a base class in another package defines or uses."""
    names = {child.name for child in node.body if isinstance(child, ast.FunctionDef)}
    names |= {child.attr for child in ast.walk(node) if isinstance(child, ast.Attribute) and _is_self(child.value)}
    names = {name for name in names if is_private(name)}
    if not names:
        return
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    kind = getattr(module, node.name, None)
    for parent in inspect.getmro(kind) if isinstance(kind, type) else ():
        if parent.__module__.split(".")[0] in LIBRARIES:
            yield from (name for name in names if re.search(rf"\bself\.{name}\b|\bdef {name}\b", _source(parent)))


@functools.cache
def _source(kind: type) -> str:
    """The source of a class; for a class that is not written in Python, its attributes."""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return "\n".join(f"def {name}" for name in vars(kind))


def files_by_name() -> dict[str, list[str]]:
    """Each private name with the files that use it."""
    found = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for one in uses(path) if name != TABLE else ():
            found[one].append(name.removeprefix("gfl_plugin/"))
    return found


def files_of(path: str, found: dict[str, list[str]]) -> list[str]:
    """The files that use a name of the table.

    For names without an underscore, which other classes may have, too: the files that contain the name and its class.
    """
    owner, name = path.split(".")[-2:]
    if is_private(name):
        return found.get(name, [])
    files = (file for file in sorted(PACKAGE.rglob("*.py")) if file.relative_to(ROOT).as_posix() != TABLE)
    patterns = (re.compile(rf"\.{name}\b|\"{name}\""), re.compile(rf"\b{owner}\b"))
    return [
        file.relative_to(PACKAGE).as_posix() for file in files if all(one.search(file.read_text()) for one in patterns)
    ]


def private_names_table() -> str:
    """One row per private name, with the files that use it."""
    from gfl_plugin.runtime.compat.private_names import PRIVATE_NAMES

    found = files_by_name()
    lines = ["| name | used for | in |", "|---|---|---|"]
    for one in PRIVATE_NAMES:
        lines.append(
            f"| `{one.path}` | {one.purpose} | {', '.join(f'`{file}`' for file in files_of(one.path, found))} |"
        )
    return "\n".join(lines)


def patch_of(docstring: str | None) -> dict[str, str]:
    """The parts of the docstring of a patch."""
    parts = re.fullmatch(
        r"[^\n]+\.\n\nProblem: (.+?)\nVersions: (.+?)\nChange: (.+?)\nNot needed when: (.+?)\n?",
        docstring or "",
        re.DOTALL,
    )
    assert parts, f"write Problem, Versions, Change and Not needed when: {docstring}"
    texts = (
        re.sub(r":func:`([^`]+)`", r"`\1`", re.sub(r"\s+", " ", part)).replace("``", "`") for part in parts.groups()
    )
    return dict(zip(("problem", "versions", "change", "not needed when"), texts))


def patches_table() -> str:
    """One row per patch, from the docstrings of the files."""
    from gfl_plugin.runtime import compat

    lines = ["| file | problem | versions | change | not needed when |", "|---|---|---|---|---|"]
    for gap in compat._GAPS:
        cells = " | ".join(patch_of(gap.__doc__).values())
        lines.append(f"| `{gap.__name__.rsplit('.', 1)[1]}` | {cells} |")
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """A document with the current tables, each between its two comments."""
    for name, table in (("private names", private_names_table), ("patches", patches_table)):
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(start)
        text = f"{before}{start}\n{table()}\n\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    import gfl_plugin  # noqa: F401

    DOCUMENT.write_text(with_tables(DOCUMENT.read_text()))
