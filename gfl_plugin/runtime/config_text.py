"""Parsing of config texts from checkpoints and records as data, without running them."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from mmengine.config import Config

_MAX_LENGTH = 4_000_000  # characters; MMDetection's longest configs have about 50,000
_as_data: ContextVar[bool] = ContextVar("config texts are data", default=False)


class ConfigTextError(ValueError):
    """A config text contains more than plain data."""


def parse(text: str) -> Config:
    """Parse a config text without running it: assignments of literals and of ``dict(...)`` calls with keywords.

    This is the format that MMEngine writes into checkpoints (``Config.pretty_text``). ``_base_`` and ``custom_imports``
    are not followed: no file is read and nothing is imported.

    Args:
        text: of a config.

    Returns:
        The config.

    Raises:
        ConfigTextError: if the text contains anything else; the message names the line.
    """
    if not isinstance(text, str):
        raise ConfigTextError(f"the config text is a {type(text).__name__}; it must be a string")
    if len(text) > _MAX_LENGTH:
        raise ConfigTextError(f"the config text has {len(text)} characters; at most {_MAX_LENGTH} are read")
    try:
        return Config(dict(_assigned(statement) for statement in ast.parse(text).body))
    except ConfigTextError:
        raise
    except SyntaxError as error:
        raise ConfigTextError(f"the config text is not Python (line {error.lineno}: {error.msg})") from error
    except (ValueError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise ConfigTextError(f"the config text is not a plain config ({type(error).__name__})") from error


@contextlib.contextmanager
def texts_are_data() -> Iterator[None]:
    """Make ``Config.fromstring`` call :func:`parse` inside the ``with`` block, in this thread.

    Yields:
        None.
    """
    token = _as_data.set(True)
    try:
        yield
    finally:
        _as_data.reset(token)


def are_data() -> bool:
    """Whether the caller runs inside :func:`texts_are_data`.

    Returns:
        True inside its ``with`` block.
    """
    return _as_data.get()


def _assigned(statement: ast.stmt) -> tuple[str, Any]:
    """The name and the value of an assignment."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        (target,) = statement.targets
        if isinstance(target, ast.Name):
            return target.id, _value(statement.value)
    raise _refused(statement, f"a {type(statement).__name__} statement")


def _value(node: ast.expr) -> Any:
    """The value of a literal, of those that ``pretty_text`` writes."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values)}  # type: ignore[arg-type]
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
        return kind(_value(item) for item in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        return -node.operand.value  # type: ignore[operator]
    if _is_dict_call(node):
        given = {keyword.arg: _value(keyword.value) for keyword in node.keywords}  # type: ignore[attr-defined]
        return {**(_value(node.args[0]) if node.args else {}), **given}  # type: ignore[attr-defined]
    if isinstance(node, ast.Name) and node.id in ("inf", "nan"):  # repr() of these numbers
        return float(node.id)
    raise _refused(node, f"a {type(node).__name__}")


def _is_dict_call(node: ast.expr) -> bool:
    """``dict(a=1, b=2)``, or ``dict({"a.b": 1}, c=2)``."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "dict"
        and (not node.args or (len(node.args) == 1 and isinstance(node.args[0], ast.Dict)))
        and all(keyword.arg for keyword in node.keywords)
    )


def _refused(node: ast.AST, what: str) -> ConfigTextError:
    return ConfigTextError(f"the config text contains {what} in line {node.lineno}; only plain values are read")  # type: ignore[attr-defined]
