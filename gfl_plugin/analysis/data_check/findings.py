"""The result of a check: one finding per kind of problem."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

EXAMPLES = 5  # kept of each finding
Report = Callable[[int, int], None]  # is called with the number of items done and the total number


@dataclass(frozen=True)
class Finding:
    """One kind of problem in a dataset."""

    kind: str  # what was found, in the plural
    serious: bool  # whether it is a mistake; else it is information
    count: int
    of: int  # number of items that were checked
    examples: tuple[str, ...]
    advice: str  # what to do; may be empty

    @staticmethod
    def of_names(kind: str, serious: bool, names: Sequence[str], total: int, advice: str) -> Finding:
        """Create a finding from the names of all items with the problem.

        Args:
            kind: what was found, in the plural.
            serious: whether it is a mistake.
            names: names of the items; the first few become examples.
            total: number of items that were checked.
            advice: what to do.

        Returns:
            The finding.
        """
        return Finding(kind, serious, len(names), total, tuple(names[:EXAMPLES]), advice)


def serious(findings: Iterable[Finding]) -> bool:
    """Check whether any finding is a mistake.

    Args:
        findings: findings of a dataset.

    Returns:
        True if there is one.
    """
    return any(one.serious for one in findings)


def listed(classes: Sequence[str]) -> str:
    """Join the names of classes for a message; long lists are shortened.

    Args:
        classes: names.

    Returns:
        The first names, with the total number if some are left out.
    """
    shown = ", ".join(map(str, classes[:EXAMPLES]))
    return f"{shown}, … ({len(classes)} in total)" if len(classes) > EXAMPLES else shown or "no classes"
