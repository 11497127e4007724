"""Reads and writes the results of finished runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from ...runtime.atomic_files import write_whole
from ..machine import this_machine
from .average_precision import ALL_METRICS
from .plan import Run
from .score_ranking import RANKING_METRICS
from .train_run import FIGURES, VALIDATION

_FILE = "result.json"


@dataclass(frozen=True)
class RunResult:
    """Figures of a finished run."""

    variant: str
    seed: int
    fingerprint: str
    metrics: dict[str, float]  # percent, by names such as AP50; of the test split, if the run has been tested on one
    validation: dict[str, float]  # those of the validation split: the same values, if there is no other test split
    tested: bool  # whether metrics are those of a test split
    parameters: int
    step_ms: float  # median time of a training step without loading data
    taken_from: Path | None  # folder of the run in another study, if its result is reused; else None


def find_results(runs: list[Run]) -> dict[str, RunResult]:
    """Read the results of finished runs; no file is written.

    A run is also finished if another study in the same folder has run the same config and seed.

    Args:
        runs: runs of one study.

    Returns:
        The results, by :attr:`Run.name`.

    Raises:
        ValueError: if a finished run had another config.
    """
    found = {}
    for run in runs:
        result = _own_result(run) or _other_studies_result(run)
        if result is None:
            continue
        if result.fingerprint != run.fingerprint:
            raise ValueError(
                f"{run.folder} contains a finished run whose config or data differ from the current "
                f"{run.variant.path}; it is not overwritten: move it, or use another folder with --work-dir"
            )
        found[run.name] = result
    return found


def copy_results(runs: list[Run], results: dict[str, RunResult]) -> None:
    """Copy results that other studies have computed into the folders of this study, with their origin.

    Args:
        runs: runs of this study.
        results: return value of :func:`find_results`.
    """
    for run in runs:
        result = results.get(run.name)
        if result is not None and result.taken_from is not None:
            studies = run.work_dir.parent
            content = _read(result.taken_from / _FILE)
            origin = str(result.taken_from.relative_to(studies))
            run.folder.mkdir(parents=True, exist_ok=True)
            write_json(run.folder / _FILE, {**content, "variant": run.variant.name, "taken_from": origin})


def write_result(run: Run) -> RunResult:
    """Write the result of a run whose process has succeeded.

    Args:
        run: run whose folder contains the figures that the process wrote.

    Returns:
        The result.
    """
    content = {
        "variant": run.variant.name,
        "seed": run.seed,
        "fingerprint": run.fingerprint,
        **_read(run.folder / FIGURES),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": asdict(this_machine()),
    }
    write_json(run.folder / _FILE, content)
    return _result(content)


def files_of(run: Run) -> Path:
    """The folder with the files of a finished run, which another study may have trained.

    Args:
        run: a finished run.

    Returns:
        The folder.
    """
    result = _own_result(run) or _other_studies_result(run)
    if result is not None and result.taken_from is not None:
        return result.taken_from
    origin = (_read(run.folder / _FILE) or {}).get("taken_from")
    return run.folder if origin is None else run.work_dir.parent / origin


def write_json(path: Path, content: object) -> None:
    """Write a JSON file atomically.

    Args:
        path: path of the file.
        content: value that JSON can represent.
    """
    write_whole(path, json.dumps(content, indent=2) + "\n")


def _own_result(run: Run) -> RunResult | None:
    content = _read(run.folder / _FILE)
    return None if content is None else _result(content)


def _other_studies_result(run: Run) -> RunResult | None:
    studies = run.work_dir.parent
    for path in sorted((*studies.glob(f"*/*/seed_*/{_FILE}"), *studies.glob(f"*/*/lr_*/seed_*/{_FILE}"))):
        content = _read(path)
        if content and content["fingerprint"] == run.fingerprint and "taken_from" not in content:
            return _result(content, path.parent)
    return None


def _result(content: dict, taken_from: Path | None = None) -> RunResult:
    metrics = _metrics(content)
    return RunResult(
        variant=content["variant"],
        seed=content["seed"],
        fingerprint=content["fingerprint"],
        metrics=metrics,
        validation=_metrics(content[VALIDATION]) if VALIDATION in content else metrics,
        tested=VALIDATION in content,
        parameters=content["parameters"],
        step_ms=content["step_ms"],
        taken_from=taken_from,
    )


def _metrics(content: dict) -> dict[str, float]:
    return {name: content[name] for name in (*ALL_METRICS, *RANKING_METRICS) if name in content}


def _read(path: Path) -> dict | None:
    return json.loads(path.read_text()) if path.exists() else None
