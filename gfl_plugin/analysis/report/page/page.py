"""Puts the page together: one HTML file with everything inside, and the figures as PNG files."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from ....runtime.atomic_files import write_whole
from ..examined_image import Examination
from ..report_content import PAGE, ReportContent
from . import words
from .chart import NARROW, WIDE, Chart, png, svg
from .figures import figures
from .page_values import page_values

_FOLDER = Path(__file__).parent
_SCRIPTS = ("theme.js", "scrolling.js", "distributions.js", "picture.js", "filters.js", "gallery.js", "compared.js")


def write_page(content: ReportContent, examinations: Sequence[Examination], folder: Path) -> None:
    """Write ``report.html`` and ``figures/*.png``.

    Args:
        content: what the analyses found.
        examinations: one per model of ``content``, in the same order.
        folder: of the report; it is created if necessary.

    Raises:
        ValueError: if ``examinations`` are not those of the models.
        OSError: if a file cannot be written.
    """
    if [one.name for one in examinations] != [one.name for one in content.models]:
        raise ValueError(
            f"examinations are of {[one.name for one in examinations]}; they must be of the report's models, "
            f"{[one.name for one in content.models]}"
        )
    charts = figures(content.models)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for chart in charts.all():
        write_whole(folder / "figures" / f"{chart.name}.png", png(chart), durable=False)
    script = "\n".join((_FOLDER / "static" / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    values = page_values(content, examinations)
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            **values | {"data": _json(values["data"])},
            content=content,
            charts=charts,
            style=Markup((_FOLDER / "static" / "report.css").read_text(encoding="utf-8")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )
    write_whole(folder / PAGE, page, durable=False)


def _environment() -> jinja2.Environment:
    """Templates in which every value is escaped, and a missing one is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"drawings": _drawings, "words": words}
    return environment


def _drawings(chart: Chart) -> list[tuple[str, Markup]]:
    """The chart for wide and for narrow windows: SVG, whose texts vl-convert has escaped."""
    return [(kind, Markup(svg(chart, width))) for kind, width in (("wide", WIDE), ("narrow", NARROW))]


def _json(data: object) -> Markup:
    """JSON inside a script element, which ``</script>`` or ``<!--`` in a text must not end."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
