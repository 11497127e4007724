"""Notes about what is not used."""

from __future__ import annotations

from collections.abc import Sequence

_EXAMPLES = 3


def examples(names: Sequence[object]) -> str:
    """Join the first few names.

    Args:
        names: of files or classes.

    Returns:
        The names, with "..." if there are more.
    """
    return ", ".join(map(str, names[:_EXAMPLES])) + (", ..." if len(names) > _EXAMPLES else "")


def left_out(what: str, names: Sequence[object]) -> tuple[str, ...]:
    """Say that something is left out.

    Args:
        what: in the plural.
        names: of the files.

    Returns:
        One note; none if there are no names.
    """
    return (f"left out: {what}, {len(names)}: {examples(names)}",) if names else ()
