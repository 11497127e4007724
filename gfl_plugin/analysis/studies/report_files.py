"""The report of a study: a Markdown table, the figures as JSON, and a plot."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from statistics import mean

from ...runtime.atomic_files import write_whole
from ..tables import markdown
from .comparison import Row, comparison_table, known_values
from .study import Study


def report_files(study: str, folder: Path) -> list[Path]:
    """List the files that :func:`write_report` writes.

    Args:
        study: name of the study.
        folder: folder of the report.

    Returns:
        The paths of ``<study>.md``, ``.json`` and ``.png``.
    """
    return [folder / f"{study}.{kind}" for kind in ("md", "json", "png")]


def write_report(study: Study, rows: list[Row], about: dict[str, str], folder: Path) -> list[Path]:
    """Write table, figures and plot.

    Args:
        study: the study.
        rows: results of the study.
        about: origin of the figures: command, machine, date.
        folder: folder of the report; it is created if it does not exist.

    Returns:
        The paths of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table_file, figures_file, plot_file = files = report_files(study.name, folder)
    seeds = sorted({seed for row in rows for seed in row.seeds})
    text = "; ".join(f"{key}: {f'`{value}`' if key == 'command' else value}" for key, value in about.items())
    table = markdown(comparison_table(study, rows))
    write_whole(table_file, f"# {study.name}\n\n{text}; seeds: {', '.join(map(str, seeds))}.\n\n{table}")
    content = {"study": study.name, **about, "rows": list(map(_figures, rows))}
    write_whole(figures_file, json.dumps(content, indent=2) + "\n")
    _plot(study, rows, plot_file)
    return files


def _figures(row: Row) -> dict:
    return {
        "variant": row.variant.name,
        "title": row.variant.title,
        "seeds": row.seeds,
        **_tuning(row),
        **row.values,
        **({} if row.validation_ap is None else {"AP (val)": row.validation_ap}),
        "parameters": row.parameters,
        "step_ms": row.step_ms,
        "difference": row.difference and asdict(row.difference),
    }


def _tuning(row: Row) -> dict:
    """The chosen learning rate of a row, and the validation AP of the whole grid."""
    if row.choice is None:
        return {}
    choice = row.choice
    return {
        "learning_rate": choice.rate,
        "at_border": choice.at_border,
        "grid": [{"learning_rate": rate, "AP (val)": choice.validation_ap.get(rate)} for rate in choice.grid],
    }


def _plot(study: Study, rows: list[Row], path: Path) -> None:
    """AP of each variant: a dot per seed, a bar at the mean, a dashed line at the mean of a single baseline."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 0.9 + 0.45 * len(rows)), layout="constrained")
    baselines = [row for row in rows if row.variant.against is None]
    for place, row in enumerate(rows):
        values = row.values["AP"]
        axes.plot(values, [place] * len(values), "o", color="#1f77b4", alpha=0.6, markersize=7, markeredgewidth=0)
        if known := known_values(values):
            axes.plot([mean(known)] * 2, [place - 0.3, place + 0.3], color="black", linewidth=2)
    if len(baselines) == 1 and (known := known_values(baselines[0].values["AP"])):
        axes.axvline(mean(known), color="grey", linewidth=0.8, linestyle="--", zorder=0)
    axes.set_yticks(range(len(rows)), [row.variant.title for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("AP (dots: seeds, bar: mean)")
    axes.set_title(study.name, loc="left")
    axes.grid(axis="x", alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
