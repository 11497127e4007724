"""What is wrong with a file that a user has named, in one line."""

from __future__ import annotations

from .terminal_text import escape_unprintable


class CheckpointError(RuntimeError):
    """A file that is not a checkpoint, is damaged, or is refused. Names out of the file are escaped in the message."""

    def __init__(self, message: str) -> None:
        super().__init__(escape_unprintable(message))


class EmptyDatasetError(ValueError):
    """A data set without an image. Names out of its annotations are escaped in the message."""

    def __init__(self, message: str) -> None:
        super().__init__(escape_unprintable(message))


def in_a_line(error: BaseException) -> str:
    """An error's kind and the first line of its message, shortened."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
