"""Errors about files and datasets that users name, each with a message of one line."""

from __future__ import annotations

from .terminal_text import escape_unprintable


class CheckpointError(RuntimeError):
    """A file is not a checkpoint, is damaged, or is refused.

    Args:
        message: in which unprintable characters are escaped, since it may contain names from the file.
    """

    def __init__(self, message: str) -> None:
        super().__init__(escape_unprintable(message))


class EmptyDatasetError(ValueError):
    """A dataset has no images.

    Args:
        message: in which unprintable characters are escaped, since it may contain names from annotations.
    """

    def __init__(self, message: str) -> None:
        super().__init__(escape_unprintable(message))


def in_a_line(error: BaseException) -> str:
    """Shorten an error to one line.

    Args:
        error: any exception.

    Returns:
        Its type and the first 200 characters of the first line of its message.
    """
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
