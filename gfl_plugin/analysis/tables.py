"""Tables of results: printed with rich, and written to files as Markdown."""

from __future__ import annotations

from dataclasses import dataclass

import rich.table
from rich.console import Console
from rich.text import Text


@dataclass(frozen=True)
class Column:
    """Heading and alignment of a column."""

    heading: str
    numeric: bool = True  # numbers are aligned to the right


@dataclass(frozen=True)
class Table:
    """Columns, and rows of text."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]  # one cell per column


def print_table(console: Console, table: Table, title: str) -> None:
    """Print a table.

    Args:
        console: where to print.
        table: headings and cells; cells are printed unchanged, without rich's markup.
        title: line above the table.
    """
    shown = rich.table.Table(title=Text(title))
    for column in table.columns:
        shown.add_column(Text(column.heading), justify="right" if column.numeric else "left")
    for row in table.rows:
        shown.add_row(*map(Text, row))
    console.print(shown)


def markdown(table: Table) -> str:
    """Format a table as Markdown. Line breaks in cells become spaces, and ``|`` is escaped.

    Args:
        table: headings and cells.

    Returns:
        The lines; each ends with a line break.
    """
    lines = [_line(column.heading for column in table.columns), "|" + "---|" * len(table.columns)]
    return "\n".join([*lines, *map(_line, table.rows)]) + "\n"


def _line(cells) -> str:
    return "| " + " | ".join(" ".join(cell.splitlines()).replace("|", r"\|") for cell in cells) + " |"
