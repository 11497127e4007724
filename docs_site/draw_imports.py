"""Draws which package of gfl_plugin imports which, from the imports in the code.

An arrow that follows from others is left out: if ``heads`` imports ``losses`` and ``losses`` imports ``ops``, there is
no arrow from ``heads`` to ``ops``. Run it after the imports of packages have changed::

    python docs_site/draw_imports.py
"""

from __future__ import annotations

import functools
from collections import defaultdict
from pathlib import Path
from statistics import mean

import grimp

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "imports.svg"
WIDTH, BOX, ROW = 760, (104, 34), 74  # pixels: picture, box, distance of rows
GRAY = "#7a86a8"
SWEEPS = 8  # times that the rows are sorted, downwards and upwards

Imports = dict[str, set[str]]  # the packages that a package imports


def read_imports() -> Imports:
    """Imports between the packages directly below gfl_plugin.

    Returns:
        The packages that each package imports. ``gfl_plugin/__init__.py``, which imports nearly all, is left out.
    """
    graph = grimp.build_graph("gfl_plugin", cache_dir=None)
    found: Imports = defaultdict(set)
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            above, below = ((name.split(".") + [""])[1] for name in (module, imported))
            if above and below and above != below:
                found[above].add(below)
                found[below] |= set()
    return dict(found)


def without_indirect(imports: Imports) -> Imports:
    """Imports that do not follow from others.

    Args:
        imports: see :func:`read_imports`; without cycles.

    Returns:
        The transitive reduction.
    """

    @functools.cache
    def reached(package: str) -> frozenset[str]:
        return frozenset().union(*({one} | reached(one) for one in imports[package]))

    return {
        package: {one for one in below if not any(one in reached(other) for other in below)}
        for package, below in imports.items()
    }


def with_bends(imports: Imports) -> tuple[Imports, dict[str, int]]:
    """Arrows that cross rows of the picture, with a bend in each of these rows.

    Args:
        imports: see :func:`without_indirect`; without cycles.

    Returns:
        The imports, in which a long arrow is a chain of short ones, and the row of each package and bend, from below.
    """

    @functools.cache
    def height(package: str) -> int:
        return 1 + max(map(height, imports[package]), default=-1)

    chained: Imports = {package: set() for package in imports}
    row = {package: height(package) for package in imports}
    for package in sorted(imports):
        for below in sorted(imports[package]):
            last = package
            for level in range(row[package] - 1, row[below], -1):
                bend = f"{package} to {below} in {level}"
                row[bend], chained[bend] = level, set()
                chained[last].add(bend)
                last = bend
            chained[last].add(below)
    return chained, row


def places_of(chained: Imports, row: dict[str, int]) -> dict[str, tuple[float, float]]:
    """Places of packages and bends, with few crossings of arrows.

    Args:
        chained: see :func:`with_bends`.
        row: see :func:`with_bends`.

    Returns:
        Center of each package and bend, pixels.
    """
    levels = range(max(row.values()), -1, -1)
    rows = [sorted(one for one in row if row[one] == level) for level in levels]
    near = {one: chained[one] | {other for other in chained if one in chained[other]} for one in chained}
    place: dict[str, tuple[float, float]] = {}
    for turn in range(SWEEPS):
        for number in (range(len(rows)), range(len(rows) - 1, -1, -1))[turn % 2]:
            wanted = {}
            for one in rows[number]:
                placed = [place[other][0] for other in near[one] if other in place]
                wanted[one] = mean(placed) if placed else WIDTH / 2
            rows[number].sort(key=lambda one: (wanted[one], one))
            place |= _in_a_row(rows[number], ROW * (number + 0.5))
    return place


def _in_a_row(row: list[str], y: float) -> dict[str, tuple[float, float]]:
    """Centers of a row's packages and bends, side by side in the middle of the picture."""
    widths = [_width(one) for one in row]
    gap = (WIDTH - sum(widths)) / len(row)
    x, found = gap / 2, {}
    for one, width in zip(row, widths):
        found[one] = (x + width / 2, y)
        x += width + gap
    return found


def _is_bend(name: str) -> bool:
    return " " in name


def _width(name: str) -> int:
    return 0 if _is_bend(name) else BOX[0]


def draw(imports: Imports) -> str:
    """The picture.

    Args:
        imports: see :func:`read_imports`.

    Returns:
        SVG that can be read on a light and on a dark page.
    """
    chained, row = with_bends(without_indirect(imports))
    place = places_of(chained, row)
    arrows = [_arrow(above, below, place) for above in sorted(chained) for below in sorted(chained[above])]
    boxes = [_box(one, *place[one]) for one in sorted(place) if not _is_bend(one)]
    height = ROW * (max(row.values()) + 1)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
            "<title>Packages of gfl_plugin; arrows point to imported packages</title>",
            '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">',
            f'<path d="M0 0L8 4L0 8z" fill="{GRAY}"/></marker>',
            *arrows,
            *boxes,
            "</svg>\n",
        ]
    )


def _arrow(above: str, below: str, place: dict[str, tuple[float, float]]) -> str:
    (x1, y1), (x2, y2) = place[above], place[below]
    y1 += BOX[1] / 2
    start = f"M{x1:.0f} {y1 - BOX[1]:.0f}V{y1:.0f}" if _is_bend(above) else f"M{x1:.0f} {y1:.0f}"
    y2 -= BOX[1] / 2
    middle = (y1 + y2) / 2
    tip = "" if _is_bend(below) else ' marker-end="url(#tip)"'
    path = f"{start}C{x1:.0f} {middle:.0f} {x2:.0f} {middle:.0f} {x2:.0f} {y2:.0f}"
    return f'<path d="{path}" fill="none" stroke="{GRAY}" stroke-width="1.5"{tip}/>'


def _box(name: str, x: float, y: float) -> str:
    left, top = x - BOX[0] / 2, y - BOX[1] / 2
    return (
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="6" '
        f'fill="#eef1fb" stroke="#5b6fb5"/>'
        f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" font-size="15" fill="#1d2440">{name}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(read_imports()))
    print(f"wrote {PICTURE}")
