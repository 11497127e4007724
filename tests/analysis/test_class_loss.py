"""Curves of class losses are read from MMEngine's logs and averaged over seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gfl_plugin.analysis.class_loss.training_curves import SCALARS, Curves, mean_curves, read_curves


def a_log(folder: Path, rows: list[dict]) -> Path:
    place = folder / "20260101_000000" / "vis_data"
    place.mkdir(parents=True)
    (place / "scalars.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def logged(step: int, value: float) -> dict:
    return {"step": step, "loss": 1.0, **{name: value + number for number, name in enumerate(SCALARS.values())}}


def test_steps_without_the_scalars_are_left_out(tmp_path: Path) -> None:
    folder = a_log(
        tmp_path, [{"step": 25, "loss": 2.0}, logged(75, 2.0), logged(50, 1.0), {"step": 1, "bbox_mAP": 0.3}]
    )
    curves = read_curves(folder)
    assert curves.steps.tolist() == [50, 75]
    assert curves.values["target"].tolist() == [1.0, 2.0]
    assert curves.values["negatives"].tolist() == [4.0, 5.0]


def test_a_run_without_the_hook_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ClassLossStatsHook"):
        read_curves(a_log(tmp_path, [{"step": 25, "loss": 2.0}]))


def test_seeds_are_averaged_over_their_common_steps() -> None:
    one = Curves(np.array([10, 20, 30]), {"score": np.array([1.0, 2.0, 3.0])})
    other = Curves(np.array([20, 30, 40]), {"score": np.array([4.0, 7.0, 9.0])})
    mean = mean_curves("GFL", [one, other])
    assert mean.steps.tolist() == [20, 30]
    assert mean.values["score"].tolist() == [3.0, 5.0]
