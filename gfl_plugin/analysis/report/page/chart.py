"""Charts of the page: what one is, its colors, and its SVG and PNG forms."""

from __future__ import annotations

import re
from dataclasses import dataclass

import altair as alt
import vl_convert

# These colors stand for roles; report.css replaces them in SVGs by those of the light or the dark theme.
INK, MUTED, LINE = "#111111", "#555555", "#dddddd"
# Of models and sides: distinguishable with impaired color vision, contrast of at least 3 on both backgrounds.
COLORS = ("#3a78d8", "#c8641b", "#16907f", "#9460d6", "#c24a78", "#8a7a1f")
WIDE, NARROW = 540, 320  # pixels of the whole chart; the page shows one of them, as there is room
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', Arial, sans-serif"


@dataclass(frozen=True)
class Chart:
    """A chart with its description for those who cannot see it."""

    name: str  # of its file, without suffix
    title: str
    description: str  # one or two sentences
    spec: alt.TopLevelMixin


def svg(chart: Chart, width: int) -> str:
    """Draw a chart for the page.

    Args:
        chart: the chart.
        width: of the whole chart in pixels.

    Returns:
        An SVG element.
    """
    drawn = vl_convert.vegalite_to_svg(_sized(chart, width, background=None), vl_version=_version())
    # The page describes the chart as a whole; roles of its parts would have no names.
    drawn = re.sub(r' (role|aria-\w+)="[^"]*"', "", drawn)
    # Each SVG numbers its clip paths from 0; in one document they must differ.
    return re.sub(r'(\bid="|url\(#)', rf"\g<1>{chart.name}-{width}-", drawn)


def png(chart: Chart) -> bytes:
    """Draw a chart for a file.

    Args:
        chart: the chart.

    Returns:
        The content of a PNG file with a white background and the title.
    """
    spec = _sized(chart, WIDE, background="white") | {"title": chart.title, "padding": 12}
    return vl_convert.vegalite_to_png(spec, vl_version=_version(), scale=2)


def color_of(names: list[str]) -> alt.Scale:
    """One color per name, in order; they repeat after the last.

    Args:
        names: of models or sides.

    Returns:
        The scale.
    """
    return alt.Scale(domain=names, range=[COLORS[number % len(COLORS)] for number in range(len(names))])


def _version() -> str:
    """The version of Vega-Lite that Altair writes, as vl-convert names it."""
    major, minor = alt.SCHEMA_VERSION.lstrip("v").split(".")[:2]
    known = vl_convert.get_vegalite_versions()
    return f"{major}.{minor}" if f"{major}.{minor}" in known else known[-1]


def _sized(chart: Chart, width: int, background: str | None) -> dict:
    """The Vega-Lite specification with a width and the page's look."""
    text = {"labelColor": MUTED, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500}
    return chart.spec.to_dict() | {
        "width": width,
        "autosize": {"type": "fit", "contains": "padding"},
        "background": background,
        "padding": {"left": 4, "right": 14, "top": 4, "bottom": 4},
        "config": {
            "font": _FONT,
            "view": {"stroke": None},
            "axis": {**text, "gridColor": LINE, "domainColor": MUTED, "tickColor": MUTED, "titlePadding": 8},
            "legend": {
                **text,
                "orient": "top",
                "title": None,
                "columns": 2 if width < WIDE else 4,
                "labelLimit": 240 if width >= WIDE else 130,
            },
            "title": {"color": INK, "fontSize": 14, "anchor": "start", "offset": 10},
        },
    }
