"""Studies: their variants, results of finished runs, and the figures in their tables."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import stats

from gfl_plugin.analysis.progress import output_console, progress_display
from gfl_plugin.analysis.studies import run_study as run_study_module
from gfl_plugin.analysis.studies import study_folder
from gfl_plugin.analysis.studies.average_precision import ALL_METRICS, PAPER_METRICS, average_precisions
from gfl_plugin.analysis.studies.comparison import compare, comparison_table
from gfl_plugin.analysis.studies.plan import Run, plan_run
from gfl_plugin.analysis.studies.rate_grid import RateChoice
from gfl_plugin.analysis.studies.report_files import write_report
from gfl_plugin.analysis.studies.report_study import finished_runs
from gfl_plugin.analysis.studies.results import RunResult, copy_results, find_results, write_json
from gfl_plugin.analysis.studies.run_queue import train_runs
from gfl_plugin.analysis.studies.run_study import StudyOutcome, StudyPlace, read_study, run_study
from gfl_plugin.analysis.studies.scale import SCALES, SmallScale
from gfl_plugin.analysis.studies.score_ranking import score_rankings
from gfl_plugin.analysis.studies.study import Study, Variant, find_study, select_variants
from gfl_plugin.analysis.studies.study_data import EmbeddedData
from gfl_plugin.analysis.studies.training_progress import TrainingProgress
from gfl_plugin.analysis.swap_check import try_out
from gfl_plugin.demo.dataset import DemoSize

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
DATA = Path("/data")
STUDIES = {
    "beta": 5, "bins": 4, "box_atss": 4, "box_fcos": 4, "box_uncertainty": 3, "components": 4, "distillation": 3,
    "gflv2": 2, "gflv2_statistics": 14, "gflv2_width": 6, "min_positives": 3, "peers": 10, "precision": 3,
    "qfl_detectors": 10, "quality_atss": 6, "quality_fcos": 6, "range": 3, "recipe": 17, "recovery": 4,
    "slow_start": 13, "spacing": 4,
}  # fmt: skip


def test_all_studies_are_there() -> None:
    folders = {path.name for path in (CONFIGS / "ablation").iterdir() if path.name != "_base_"}
    assert folders == set(STUDIES)
    for name, count in STUDIES.items():
        study = find_study(CONFIGS / "ablation", name)
        assert [variant.order for variant in study.variants] == list(range(count))
        assert any(variant.against is None for variant in study.variants)


def test_unknown_names_list_what_exists() -> None:
    with pytest.raises(ValueError, match="unknown study 'betas'.*beta, bins, box_atss"):
        find_study(CONFIGS / "ablation", "betas")
    study = find_study(CONFIGS / "ablation", "bins")
    with pytest.raises(ValueError, match="bins has no variant n_15; it has: n_12, n_14, n_16, n_18"):
        select_variants(study, ["n_12", "n_15"])
    assert [variant.name for variant in select_variants(study, ["n_16"]).variants] == ["n_16"]


@pytest.fixture(autouse=True)
def trained_teacher(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of the distillation study's teacher at the scale demo, named by GFL_TEACHER."""
    path = tmp_path_factory.getbasetemp() / "teacher.pth"
    if not path.exists():
        variant = find_study(CONFIGS / "ablation", "distillation").variants[1]
        model = SCALES["demo"].config(variant, CONFIGS, DATA).model
        torch.save(dict(state_dict=MODELS.build(model).state_dict()), path)
    monkeypatch.setenv("GFL_TEACHER", str(path))
    return path


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_small_configs_differ_from_each_other_and_keep_their_heads(name: str) -> None:
    """The head is the COCO config's except for width, depth and classes; backbone, data and schedule are the same.

    In the precision study the optimizer wrapper differs instead of the head. The teacher of the distillation study is
    another detector, and its third variant also has a teacher.
    """
    study = find_study(CONFIGS / "ablation", name)
    heads, rest = [], []
    for variant in study.variants:
        full = Config.fromfile(variant.path)
        small = SCALES["demo"].config(variant, CONFIGS, DATA).to_dict()
        head = small["model"].pop("bbox_head")
        assert head["type"] == full.model.bbox_head.type and head["num_classes"] == 10
        wrapper = {key: small["optim_wrapper"].pop(key, None) for key in ("type", "dtype", "loss_scale")}
        if name != "precision":
            assert wrapper == dict(type="OptimWrapper", dtype=None, loss_scale=None)
        if variant.name == "teacher":
            continue
        parts = (small["model"].pop(key) for key in ("train_cfg", "test_cfg", "type"))
        for key in ("teacher_config", "teacher_ckpt"):
            small["model"].pop(key, None)
        heads.append((head, *parts, wrapper))
        small["model"]["neck"].pop("num_outs")
        rest.append(small)
    assert all(other == rest[0] for other in rest)
    assert len({repr(head) for head in heads}) == len(heads)


def test_gfl_is_the_same_config_in_all_studies_with_it() -> None:
    """Its runs are then reused."""
    paths = ("distillation/student.py", "gflv2/gfl.py", "gflv2_statistics/none.py", "peers/ours.py")
    models = [Config.fromfile(CONFIGS / "ablation" / path).model.to_dict() for path in paths]
    assert models == [models[0]] * 4
    paths = ("gflv2/gflv2.py", "gflv2_statistics/top_4_mean.py", "gflv2_width/hidden_64.py")
    models = [Config.fromfile(CONFIGS / "ablation" / path).model.to_dict() for path in paths]
    assert models == [models[0]] * 3


@pytest.mark.parametrize("name", sorted(set(STUDIES) - {"peers"}))  # tests/test_peers.py
def test_each_variant_trains_a_step_and_predicts(name: str) -> None:
    for variant in find_study(CONFIGS / "ablation", name).variants:
        try_out(SCALES["demo"].config(variant, CONFIGS, DATA))


def test_at_demo_large_the_head_has_one_level() -> None:
    """Neck, priors and strides are those of the single-level detector; the bins are those of the config."""
    for variant in find_study(CONFIGS / "ablation", "range").variants:
        full, small = Config.fromfile(variant.path).model, SCALES["demo_large"].config(variant, CONFIGS, DATA).model
        assert small.neck.type == "mmdet.CTResNetNeck" and small.bbox_head.anchor_generator.strides == [8]
        assert small.bbox_head.reg_max == full.bbox_head.reg_max
        try_out(SCALES["demo_large"].config(variant, CONFIGS, DATA))


def test_at_demo_noise_boxes_of_one_class_are_learned_and_not_clipped() -> None:
    """Predicted sides may lie outside the image, as annotated ones do."""
    for variant in find_study(CONFIGS / "ablation", "recovery").variants:
        cfg = SCALES["demo_noise"].config(variant, CONFIGS, DATA)
        loaders = (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
        assert [loader.dataset.metainfo.classes for loader in loaders] == [("digit",)] * 3
        assert cfg.model.bbox_head.num_classes == 1 and cfg.model.bbox_head.anchor_generator.strides == [8]
        assert not MODELS.build(cfg.model).bbox_head.bbox_coder.clip_border
        try_out(cfg)


@pytest.mark.parametrize("scale", ["demo", "bccd", "coco"])
def test_distillation_without_a_trained_teacher_says_what_to_do(
    scale: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GFL_TEACHER")
    student, teacher, distilled = find_study(CONFIGS / "ablation", "distillation").variants
    for variant in (student, teacher):
        SCALES[scale].config(variant, CONFIGS, DATA)
    with pytest.raises(
        ValueError,
        match="variant ld learns from a trained teacher, but there is no file teacher.pth; "
        "train it with gfl-plugin ablate distillation --variants teacher, and set GFL_TEACHER",
    ):
        SCALES[scale].config(distilled, CONFIGS, DATA)


@pytest.mark.parametrize("scale", ["demo", "bccd_long"])
def test_the_small_teacher_of_a_distillation_is_the_teacher_variant(scale: str) -> None:
    """Its model is the one that the teacher's own runs train, and the student is the student variant."""
    student, teacher, distilled = (
        SCALES[scale].config(variant, CONFIGS, DATA).model.to_dict()
        for variant in find_study(CONFIGS / "ablation", "distillation").variants
    )
    assert distilled.pop("teacher_config") == {"model": teacher}
    assert distilled.pop("teacher_ckpt").endswith("teacher.pth")
    for model in (student, distilled):
        model.pop("type"), model["bbox_head"].pop("type")
    assert distilled == student


@pytest.mark.parametrize("scale", ["demo", "bccd", "coco"])
@pytest.mark.parametrize("set_before", [True, False])
def test_creating_a_config_keeps_the_environment(scale: str, set_before: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the data is in the config; later configs of the same process read the variables of the user."""
    for name in ("GFL_DATA", "GFL_DEMO_DATA"):
        monkeypatch.setenv(name, "/own") if set_before else monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    cfg = SCALES[scale].config(find_study(CONFIGS / "ablation", "bins").variants[0], CONFIGS, DATA)
    assert dict(os.environ) == before
    assert scale == "coco" or cfg.train_dataloader.dataset.data_root.startswith(str(DATA))


def test_at_coco_scale_a_config_is_unchanged() -> None:
    variant = find_study(CONFIGS / "ablation", "components").variants[-1]
    cfg, expected = SCALES["coco"].config(variant, CONFIGS, DATA), Config.fromfile(variant.path)
    expected.pop("ablation")
    assert cfg.to_dict() == expected.to_dict()


def test_missing_data_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GFL_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="BCCD not found.*set GFL_DATA"):
        SCALES["bccd"].data.locate(tmp_path)
    with pytest.raises(FileNotFoundError, match="COCO not found in data/coco"):
        SCALES["coco"].data.locate(tmp_path)


@pytest.mark.parametrize("name", ["BCCD", "bccd"])
def test_bccd_is_found_in_a_clone_and_in_a_folder_of_its_own(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name / "ImageSets").mkdir(parents=True)
    monkeypatch.setenv("GFL_DATA", str(tmp_path))
    assert SCALES["bccd"].data.locate(tmp_path / "elsewhere") == tmp_path.resolve()


# ---------------------------------------------------------------------------------------------------
# Finished runs
# ---------------------------------------------------------------------------------------------------


def variant_named(name: str, order: int = 0, against: str | None = None) -> Variant:
    return Variant(name, Path(f"{name}.py"), name.upper(), order, against, {})


def run_of(work_dir: Path, name: str, seed: int = 0, config: dict | None = None, data: str = "/data") -> Run:
    return plan_run(variant_named(name), seed, work_dir, Config(config or dict(lr=name, root=f"{data}/x")), Path(data))


def give_result(run: Run, ap: float = 30.0, **changes: object) -> None:
    """Write the result of a run; ``val=dict(AP=...)`` adds the metrics of a validation split."""
    values = dict(variant=run.variant.name, seed=run.seed, fingerprint=run.fingerprint, parameters=10, step_ms=5.0)
    values.update(dict.fromkeys(PAPER_METRICS, ap), **changes)
    run.folder.mkdir(parents=True)
    write_json(run.folder / "result.json", values)


def test_a_finished_run_is_not_repeated_and_one_of_another_config_is_kept(tmp_path: Path) -> None:
    done, other = run_of(tmp_path / "s", "a"), run_of(tmp_path / "s", "a", seed=1)
    give_result(done)
    assert set(find_results([done, other])) == {done.name}
    changed = run_of(tmp_path / "s", "a", config=dict(lr=2))
    with pytest.raises(ValueError, match="finished run whose config or data differ.*not overwritten.*--work-dir"):
        find_results([changed])
    assert find_results([done])[done.name].fingerprint == done.fingerprint


def test_the_fingerprint_does_not_depend_on_the_data_folder(tmp_path: Path) -> None:
    here, there = (run_of(tmp_path, "a", data=folder) for folder in ("/here", "/there"))
    assert here.fingerprint == there.fingerprint
    assert run_of(tmp_path, "a", seed=1).fingerprint != here.fingerprint


def test_results_of_a_sibling_study_are_reused(tmp_path: Path) -> None:
    config = dict(lr=1)
    give_result(run_of(tmp_path / "first", "a", config=config), ap=41.0)
    again = run_of(tmp_path / "second", "b", config=config)
    found = find_results([again])
    assert set(found) == {again.name} and not again.folder.exists()
    copy_results([again], found)
    written = json.loads((again.folder / "result.json").read_text())
    assert written["AP"] == 41.0 and written["taken_from"] == "first/a/seed_0" and written["variant"] == "b"
    assert find_results([again])[again.name].metrics["AP"] == 41.0


def test_a_folder_belongs_to_one_study(tmp_path: Path) -> None:
    study_folder.reserve(tmp_path / "w", "beta", "demo")
    study_folder.reserve(tmp_path / "w", "beta", "demo")
    with pytest.raises(ValueError, match="contains study beta at scale demo, not bins at demo.*--work-dir"):
        study_folder.reserve(tmp_path / "w", "bins", "demo")
    with pytest.raises(ValueError, match="not beta at bccd"):
        study_folder.reserve(tmp_path / "w", "beta", "bccd")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match="not empty and does not belong to a study"):
        study_folder.reserve(tmp_path / "mine", "beta", "demo")


def test_a_folder_with_only_a_report_can_be_used_by_its_study(tmp_path: Path) -> None:
    """``--report`` writes to the work dir, where the study can be run afterwards."""
    (tmp_path / "beta.md").write_text("")
    study_folder.reserve(tmp_path, "beta", "demo")
    with pytest.raises(ValueError, match="contains study beta at scale demo, not bins"):
        study_folder.check_owner(tmp_path, "bins", "demo")


def test_too_little_disk_space_is_an_error_before_any_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variant = find_study(CONFIGS / "ablation", "components").variants[-1]
    config = SCALES["demo"].config(variant, CONFIGS, DATA)
    run = plan_run(variant, 0, tmp_path, config, DATA)
    study_folder.check_disk_space([run], tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    with pytest.raises(OSError, match=r"1 runs need about 0\.0 GB.*has 0\.0 GB.*--work-dir"):
        study_folder.check_disk_space([run], tmp_path)
    study_folder.check_disk_space([], tmp_path)


# ---------------------------------------------------------------------------------------------------
# Tables
# ---------------------------------------------------------------------------------------------------


def test_the_table_has_means_deviations_and_a_paired_test(tmp_path: Path) -> None:
    study = Study("s", (variant_named("a"), variant_named("b", 1, "a"), variant_named("c", 2, "a")))
    figures = {"a": [30.0, 31.0, 33.0], "b": [31.0, 32.5, 33.5], "c": [29.0]}
    runs = []
    for variant in study.variants:
        for seed in range(3):
            run = plan_run(variant, seed, tmp_path, Config(dict(v=variant.name)), DATA)
            runs.append(run)
            if seed < len(figures[variant.name]):
                give_result(run, figures[variant.name][seed], step_ms=10.0 + seed)
    rows = compare(study, runs, find_results(runs))
    assert [row.seeds for row in rows] == [(0, 1, 2), (0, 1, 2), (0,)]
    difference = rows[1].difference
    assert difference.mean == pytest.approx(1.0) and difference.deviation == pytest.approx(0.5)
    assert difference.p == pytest.approx(stats.ttest_rel(figures["b"], figures["a"]).pvalue)
    assert (rows[2].difference.mean, rows[2].difference.p) == (-1.0, None)
    assert rows[0].difference is None and rows[0].step_ms == 11.0
    cells = comparison_table(study, rows).rows
    assert cells[0][:2] == ("A", "31.3 ± 1.5")
    assert cells[2][0] == "C (1 of 3 seeds)"
    files = write_report(study, rows, dict(command="x"), tmp_path / "out")
    assert "| B | 32.3 ± 1.3" in files[0].read_text() and "+1.0 ± 0.5 (0.074)" in files[0].read_text()
    assert json.loads(files[1].read_text())["rows"][1]["AP"] == figures["b"]
    assert files[2].stat().st_size > 5000


def test_the_table_shows_the_test_split_if_all_runs_have_been_tested_on_it(tmp_path: Path) -> None:
    """Results of versions that tested on the validation split only are not mixed with those of the test split."""
    study = Study("s", (variant_named("a"), variant_named("b", 1, "a")), metrics=("AP",))
    runs = [plan_run(v, seed, tmp_path, Config(dict(v=v.name)), DATA) for v in study.variants for seed in (0, 1)]
    for run, test, val in zip(runs, (30.0, 32.0, 34.0, 35.0), (41.0, 43.0, 48.0, 49.0)):
        give_result(run, test, val=dict(AP=val))
    rows = compare(study, runs, find_results(runs))
    assert [row.values["AP"] for row in rows] == [(30.0, 32.0), (34.0, 35.0)]
    assert [row.validation_ap for row in rows] == [(41.0, 43.0), (48.0, 49.0)]
    assert rows[1].difference.mean == pytest.approx(3.5)
    table = comparison_table(study, rows)
    assert [column.heading for column in table.columns[:3]] == ["variant", "AP", "AP (val)"]
    assert table.rows[1][:3] == ("B", "34.5 ± 0.7", "48.5 ± 0.7")
    written = json.loads(write_report(study, rows, dict(command="x"), tmp_path / "out")[1].read_text())["rows"][1]
    assert written["AP"] == [34.0, 35.0] and written["AP (val)"] == [48.0, 49.0]

    shutil.rmtree(runs[0].folder)
    give_result(runs[0], 41.0)
    rows = compare(study, runs, find_results(runs))
    assert [row.values["AP"] for row in rows] == [(41.0, 43.0), (48.0, 49.0)]
    assert "AP (val)" not in [column.heading for column in comparison_table(study, rows).columns]


def test_a_metric_that_some_runs_do_not_have_is_that_of_the_others(tmp_path: Path) -> None:
    """A run without detections has no ρ. The report is complete, and its file is JSON, which has no NaN."""
    study = Study("s", (variant_named("a"), variant_named("b", 1, "a")), metrics=("AP", "ρ", "ρ all"))
    runs = [plan_run(v, seed, tmp_path, Config(dict(v=v.name)), DATA) for v in study.variants for seed in range(3)]
    for run, rho in zip(runs, (None, 40.0, 42.0, None, None, 44.0)):
        give_result(run, **({} if rho is None else {"ρ": rho}))
    rows = compare(study, runs, find_results(runs))
    cells = [row[1:4] for row in comparison_table(study, rows).rows]
    assert cells == [("30.0 ± 0.0", "41.0 ± 1.4 (2 of 3 seeds)", "–"), ("30.0 ± 0.0", "44.0 (1 of 3 seeds)", "–")]

    def no_json(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = write_report(study, rows, dict(command="x"), tmp_path / "out")[1].read_text()
    written = json.loads(text, parse_constant=no_json)["rows"]
    assert [row["ρ"] for row in written] == [[None, 40.0, 42.0], [None, None, 44.0]]


def test_a_run_without_ap_is_in_no_difference(tmp_path: Path) -> None:
    """AP is missing if no image of a split has an object."""
    study = Study("s", (variant_named("a"), variant_named("b", 1, "a")), metrics=("AP",))
    runs = [plan_run(v, seed, tmp_path, Config(dict(v=v.name)), DATA) for v in study.variants for seed in range(3)]
    for run, ap in zip(runs, (None, 30.0, 33.0, 31.0, 32.0, 36.0)):
        give_result(run, ap or 0.0)
        if ap is None:
            values = json.loads((run.folder / "result.json").read_text())
            write_json(run.folder / "result.json", {name: values[name] for name in values if name != "AP"})
    rows = compare(study, runs, find_results(runs))
    assert rows[1].difference.mean == pytest.approx(2.5)
    assert comparison_table(study, rows).rows[0][1] == "31.5 ± 2.1 (2 of 3 seeds)"
    assert len(write_report(study, rows, dict(command="x"), tmp_path / "out")) == 3


# ---------------------------------------------------------------------------------------------------
# Learning rates
# ---------------------------------------------------------------------------------------------------

RATES = (5e-4, 1e-3, 2e-3)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the runs that are trained. Their AP is made up: that of "qfl" is best at 0.001, of "gfl" at 0.002.

    On the test split, it is best at 0.0005. The run of "atss" at 0.002 fails.
    """
    best, names = {"qfl": 1e-3, "gfl": 2e-3, "atss": 1e-3}, []

    def train(runs: list[Run], jobs: int, watcher: object) -> list[Run]:
        names.extend(run.name for run in runs)
        failed = [run for run in runs if run.variant.name == "atss" and run.rate == 2e-3]
        for run in runs:
            if run not in failed:
                ap = 40 - 1e3 * abs(run.rate - best[run.variant.name]) + run.seed
                give_result(run, 30 - 1e3 * run.rate, val=dict(AP=ap))
        return failed

    monkeypatch.setattr(run_study_module, "train_runs", train)
    return names


def tuned_place(work_dir: Path, seeds: tuple[int, ...] = (2, 1, 0)) -> StudyPlace:
    study = select_variants(find_study(CONFIGS / "ablation", "components"), ["atss", "qfl", "gfl"])
    data = EmbeddedData(DemoSize(train=2, val=1, side=64))
    scale = SmallScale(data, "demo_data.py", 1, 2, 10, None, schedule="small_schedule_adamw.py")
    return StudyPlace(study, scale, "small", seeds, work_dir, work_dir.parent, CONFIGS, RATES[::-1])


def run_tuned(place: StudyPlace) -> StudyOutcome:
    with progress_display(output_console()) as display:
        return run_study(place, 1, display)


def test_rates_are_chosen_by_validation_ap_of_the_first_seed(tmp_path: Path, trained: list[str]) -> None:
    place = tuned_place(tmp_path / "s")
    outcome = run_tuned(place)
    first = [f"{name}, lr {rate}, seed 0" for name in ("atss", "qfl", "gfl") for rate in RATES]
    chosen = {"atss": 1e-3, "qfl": 1e-3, "gfl": 2e-3}
    rest = [f"{name}, lr {rate}, seed {seed}" for seed in (1, 2) for name, rate in chosen.items()]
    assert trained == first + rest
    assert {name: choice.rate for name, choice in outcome.choices.items()} == chosen
    assert outcome.choices["gfl"].validation_ap == pytest.approx({5e-4: 38.5, 1e-3: 39.0, 2e-3: 40.0})
    assert [run.name for run in outcome.failed] == ["atss, lr 0.002, seed 0"]
    assert [run.config.optim_wrapper.optimizer.lr for run in outcome.runs] == [1e-3, 1e-3, 2e-3] * 3
    assert outcome.runs[-1].folder == tmp_path / "s" / "gfl" / "lr_0.002" / "seed_2"

    rows = compare(place.study, outcome.runs, outcome.results, outcome.choices)
    cells = [row[1] for row in comparison_table(place.study, rows).rows]
    assert cells == ["0.001 (2 of 3 rates)", "0.001", "0.002 (border of the grid)"]
    assert [row.values["AP"] for row in rows] == [(29.0,) * 3, (29.0,) * 3, (28.0,) * 3]
    written = json.loads(write_report(place.study, rows, dict(command="x"), tmp_path / "out")[1].read_text())["rows"]
    assert written[0]["grid"][2] == {"learning_rate": 2e-3, "AP (val)": None}
    assert written[2]["learning_rate"] == 2e-3 and written[2]["at_border"]
    assert [one["AP (val)"] for one in written[2]["grid"]] == pytest.approx([38.5, 39.0, 40.0])


def test_a_single_rate_has_no_border() -> None:
    assert not RateChoice(2e-3, (2e-3,), {2e-3: 40.0}).at_border
    assert RateChoice(2e-3, (1e-3, 2e-3), {2e-3: 40.0}).at_border


def test_a_tuned_study_continues_and_is_reported_without_training(tmp_path: Path, trained: list[str]) -> None:
    """Finished runs are not repeated, in the next study either; failed ones are."""
    run_tuned(tuned_place(tmp_path / "s", seeds=(0,)))
    outcome = run_tuned(tuned_place(tmp_path / "s"))
    assert len(trained) == 9 + 1 + 6 and trained[9] == "atss, lr 0.002, seed 0"
    read = read_study(tuned_place(tmp_path / "s"))
    assert (read.choices, read.results) == (outcome.choices, outcome.results) and len(trained) == 16
    run_tuned(tuned_place(tmp_path / "another"))
    assert trained[16:] == ["atss, lr 0.002, seed 0"]


def test_rates_of_the_configs_are_used_without_a_grid(tmp_path: Path) -> None:
    run = run_of(tmp_path / "s", "a", config=dict(optim_wrapper=dict(optimizer=dict(lr=0.02))))
    assert run.folder == tmp_path / "s" / "a" / "seed_0" and run.name == "a, seed 0"
    assert run.config.optim_wrapper.optimizer.lr == 0.02


def test_no_finished_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run of study s is finished in .*; run it first"):
        compare(Study("s", (variant_named("a"),)), [run_of(tmp_path / "s", "a")], {})


def test_average_precisions_at_single_thresholds(tmp_path: Path) -> None:
    """For one object that is detected with IoU 0.72, AP is 1 up to 0.70 and 0 from 0.75; the mean of ten is 0.5."""
    annotation = dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 100, 100], area=10000, iscrowd=0)
    truth = dict(
        images=[dict(id=1, width=200, height=200)], annotations=[annotation], categories=[dict(id=1, name="a")]
    )
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps([dict(image_id=1, category_id=1, bbox=[0, 0, 100, 72], score=0.9)]))
    values = average_precisions(tmp_path / "truth.json", tmp_path / "found.json")
    assert values == pytest.approx(dict(AP=50.0, AP50=100.0, AP60=100.0, AP70=100.0, AP80=0.0, AP90=0.0))
    assert set(average_precisions(tmp_path / "truth.json", tmp_path / "none.json").values()) == {0.0}


def test_without_detections_the_metrics_of_the_sizes_of_objects_are_0(tmp_path: Path) -> None:
    """As with detections, metrics of sizes without objects are left out."""
    annotations = [
        dict(id=number, image_id=1, category_id=label, bbox=[0, 0, side, side], area=side**2, iscrowd=0)
        for number, (label, side) in enumerate([(1, 20), (2, 50)], 1)
    ]
    categories = [dict(id=number, name=str(number)) for number in (1, 2, 3)]
    images = [dict(id=1, width=200, height=200)]
    (tmp_path / "truth.json").write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories))
    )
    (tmp_path / "empty.json").write_text("[]")
    missed = [dict(image_id=1, category_id=1, bbox=[100, 100, 20, 20], score=0.5)]
    (tmp_path / "missed.json").write_text(json.dumps(missed))
    of_missed, of_empty, of_none = (
        average_precisions(tmp_path / "truth.json", tmp_path / f"{name}.json", ALL_METRICS)
        for name in ("missed", "empty", "none")
    )
    assert of_empty == of_none == of_missed == dict.fromkeys(set(ALL_METRICS) - {"APt", "APl"}, 0.0)


def test_average_precisions_are_those_of_pycocotools_summary(tmp_path: Path) -> None:
    """AP, AP50 and AP75 equal those of ``COCOeval.summarize`` for random objects and detections."""
    random = np.random.default_rng(0)
    images = [dict(id=number, width=200, height=200) for number in range(20)]
    categories = [dict(id=number, name=str(number)) for number in range(3)]
    annotations, found = [], []
    for image in images:
        for _ in range(5):
            box = [*random.uniform(0, 100, 2), *random.uniform(20, 90, 2)]
            label = int(random.integers(3))
            number = len(annotations) + 1
            own = dict(image_id=image["id"], category_id=label)
            annotations.append(dict(own, id=number, bbox=box, area=box[2] * box[3], iscrowd=0))
            moved = [value + random.normal(0, 5) for value in box]
            found.append(dict(own, bbox=moved, score=random.uniform(0.1, 1)))
    truth, detections = tmp_path / "truth.json", tmp_path / "found.json"
    truth.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    detections.write_text(json.dumps(found))
    expected = COCOeval(COCO(str(truth)), COCO(str(truth)).loadRes(found), "bbox")
    expected.evaluate()
    expected.accumulate()
    expected.summarize()
    values = average_precisions(truth, detections, ALL_METRICS)
    assert [values[name] for name in ("AP", "AP50", "AP75", "APs", "APm")] == pytest.approx(
        list(100 * expected.stats[:5])
    )
    assert 10 < values["AP"] < 90 and values["APs"] != pytest.approx(values["APm"])
    assert values["AP"] == pytest.approx(np.mean([values[name] for name in ALL_METRICS[1:11]]))
    assert not {"APt", "APl"} & set(values)  # there are no objects of these sizes
    of_classes = []
    for label in range(3):
        expected.params.catIds = [label]
        expected.evaluate()
        expected.accumulate()
        expected.summarize()
        of_classes.append(100 * expected.stats[0])
    assert values["AP worst"] == pytest.approx(min(of_classes)) and min(of_classes) < values["AP"] - 1e-3


def test_score_rankings(tmp_path: Path) -> None:
    """Three detections of objects ranked as their IoUs, except for the last two, and one of the background."""
    boxes = [[0, 0, 100, 100], [200, 0, 100, 100], [0, 200, 100, 100]]
    annotations = [dict(id=i, image_id=1, category_id=1, bbox=box, iscrowd=0) for i, box in enumerate(boxes, 1)]
    scores, heights = [0.9, 0.5, 0.6], [90, 80, 70]
    found = [
        dict(image_id=1, category_id=1, bbox=[*box[:2], 100, height], score=score)
        for box, height, score in zip(boxes, heights, scores)
    ]
    # With another class it overlaps no object of its own.
    found.append(dict(image_id=1, category_id=2, bbox=boxes[0], score=0.7))
    (tmp_path / "truth.json").write_text(json.dumps(dict(annotations=annotations)))
    (tmp_path / "found.json").write_text(json.dumps(found))
    values = score_rankings(tmp_path / "truth.json", tmp_path / "found.json")
    # 1 - 6 Σ d² / (n (n² - 1)) with rank differences 0, 1, 1; and, with the fourth, 0, 2, 0, 2 (ranks 4 1 2 3, 4 3 2 1)
    assert values == pytest.approx({"ρ": 100 * (1 - 6 * 2 / 24), "ρ all": 100 * (1 - 6 * 8 / 60)})
    (tmp_path / "found.json").write_text("[]")
    assert score_rankings(tmp_path / "truth.json", tmp_path / "found.json") == {}


def test_metrics_of_a_study(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    config = tmp_path / "s" / "a.py"
    config.write_text('ablation = dict(order=0, title="a", metrics=["AP", "APs", "ρ"])\n')
    assert find_study(tmp_path, "s").metrics == ("AP", "APs", "ρ")
    config.write_text('ablation = dict(order=0, title="a", metrics=["AP", "mAP"])\n')
    with pytest.raises(ValueError, match="study s: ablation.metrics has mAP; the metrics are: AP, AP50"):
        find_study(tmp_path, "s")


def test_the_analysis_of_a_study_must_exist(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    config = tmp_path / "s" / "a.py"
    config.write_text('ablation = dict(order=0, title="a", analysis="uncertainty")\n')
    assert find_study(tmp_path, "s").analysis == "uncertainty"
    config.write_text('ablation = dict(order=0, title="a", analysis="depth")\n')
    with pytest.raises(
        ValueError, match="study s: ablation.analysis is depth; it must be one of class_loss, uncertainty, recovery"
    ):
        find_study(tmp_path, "s")


def test_analyses_read_the_files_of_the_run_that_was_trained(tmp_path: Path) -> None:
    """Also if another study trained it, before and after its result was copied; missing files are an error."""
    config = dict(lr=1)
    trained, again = run_of(tmp_path / "first", "a", config=config), run_of(tmp_path / "second", "b", config=config)
    give_result(trained)
    (trained.folder / "config.py").write_text("")
    for copied in (False, True):
        results = find_results([again])
        if copied:
            copy_results([again], results)
        outcome = StudyOutcome([again], results, [])
        with pytest.raises(FileNotFoundError, match=f"checkpoint of b, seed 0 is missing in {trained.folder}"):
            finished_runs(outcome)
    for name in ("epoch_1.pth", "epoch_2.pth"):
        (trained.folder / name).write_text("")
        os.utime(trained.folder / name, (1, int(name[6])))
    (found,) = finished_runs(outcome)
    assert (found.variant, found.seed) == (again.variant, 0)
    assert (found.config, found.checkpoint) == (trained.folder / "config.py", trained.folder / "epoch_2.pth")


# ---------------------------------------------------------------------------------------------------
# Whole studies, tiny
# ---------------------------------------------------------------------------------------------------


class Listener:
    """A listener that records its calls."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.steps: dict[str, list[TrainingProgress]] = {}
        self.results: dict[str, RunResult] = {}
        self.failures: dict[str, str] = {}

    def started(self, run: Run) -> None:
        self.begun.append(run.name)

    def advanced(self, run: Run, progress: TrainingProgress) -> None:
        self.steps.setdefault(run.name, []).append(progress)

    def finished(self, run: Run, result: RunResult) -> None:
        self.results[run.name] = result

    def failed(self, run: Run, message: str) -> None:
        self.failures[run.name] = message


@pytest.mark.once
def test_one_failed_run_does_not_stop_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other run trains to its end; its progress increases, and its figures are those of its detections."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    study = select_variants(find_study(CONFIGS / "ablation", "components"), ["qfl", "gfl"])
    scale = SmallScale(EmbeddedData(DemoSize(train=8, val=4, side=64)), "demo_data.py", 2, 4, 10, None)
    scale.data.prepare(tmp_path, lambda done, total: None)
    data = scale.data.locate(tmp_path)
    configs = [scale.config(variant, CONFIGS, data) for variant in study.variants]
    configs[0].model.bbox_head.loss_cls.beta = -1
    runs = [plan_run(v, 0, tmp_path / "s", c, data) for v, c in zip(study.variants, configs)]
    listener = Listener()
    assert train_runs(runs, 2, listener) == [runs[0]]
    assert listener.begun == [run.name for run in runs]
    assert "beta is -1" in listener.failures["qfl, seed 0"] and "gfl, seed 0" not in listener.failures
    result = find_results(runs)[runs[1].name]
    assert result == listener.results["gfl, seed 0"]
    assert not result.tested  # there is one set only
    expected = average_precisions(data / "val.json", runs[1].folder / "val.bbox.json", ALL_METRICS)
    assert result.metrics.items() >= expected.items() and result.parameters > 10**6 and result.step_ms > 0
    assert json.loads((runs[1].folder / "result.json").read_text())["threads"] == 1
    told = listener.steps["gfl, seed 0"]
    assert {(one.steps, one.epochs) for one in told} == {(4, 2)}
    assert [one.step for one in told] == sorted(one.step for one in told)
    assert all(one.epoch == 1 + (one.step - 1) // 2 for one in told)
    assert set(find_results(runs)) == {runs[1].name}
    (row,) = compare(study, runs, find_results(runs))
    assert np.isfinite(list(row.values.values())).all()


@pytest.mark.once
def test_a_run_is_tested_on_validation_and_test_split(tmp_path: Path) -> None:
    """Each has its own images and figures. Without a threshold, an untrained network has detections on all images."""
    variant = find_study(CONFIGS / "ablation", "components").variants[-1]
    scale = SmallScale(EmbeddedData(DemoSize(train=8, val=4, side=64)), "demo_data.py", 1, 4, 10, None)
    scale.data.prepare(tmp_path, lambda done, total: None)
    data = scale.data.locate(tmp_path)
    config = scale.config(variant, CONFIGS, data)
    config.model.test_cfg.score_thr = 0.0
    config.test_dataloader.dataset.update(ann_file="train.json", data_prefix=dict(img="train/"))
    config.test_evaluator.ann_file = str(data / "train.json")
    run = plan_run(variant, 0, tmp_path / "s", config, data)
    assert train_runs([run], 1, Listener()) == []
    result = find_results([run])[run.name]
    test = score_rankings(data / "train.json", run.folder / "test.bbox.json")
    val = score_rankings(data / "val.json", run.folder / "val.bbox.json")
    assert result.tested and result.metrics.items() >= test.items() and result.validation.items() >= val.items()
    assert test["ρ all"] != val["ρ all"]
    for name, images in (("test", 8), ("val", 4)):
        found = json.loads((run.folder / f"{name}.bbox.json").read_text())
        assert len({one["image_id"] for one in found}) == images


@pytest.mark.once
def test_killing_a_study_ends_its_runs_without_partial_results(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "ablate.py"), "components", "--seeds", "0", "--variants", "gfl"]
    folder = tmp_path / "demo" / "components"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    study = subprocess.Popen([*command, "--work-dir", str(folder)], env=environment, stdout=subprocess.DEVNULL)
    progress = folder / "gfl" / "seed_0" / "progress.json"
    deadline = time.monotonic() + 240
    while not progress.exists() and time.monotonic() < deadline and study.poll() is None:
        time.sleep(0.2)
    assert progress.exists()
    study.send_signal(signal.SIGKILL)
    study.wait()
    time.sleep(5)
    before = progress.read_text()
    time.sleep(3)
    assert progress.read_text() == before  # the training has ended
    assert not (progress.parent / "result.json").exists()


@pytest.mark.once
def test_the_tools_errors(tmp_path: Path) -> None:
    def tool(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / "tools" / "ablate.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path)

    unknown = tool("betas")
    assert unknown.returncode == 2 and "are: beta, bins" in unknown.stderr
    study_folder.reserve(tmp_path / "w", "bins", "demo")
    other = tool("beta", "--work-dir", str(tmp_path / "w"))
    assert other.returncode == 2 and "contains study bins" in other.stderr
    with study_folder.locked(tmp_path / "w"):
        busy = tool("bins", "--work-dir", str(tmp_path / "w"))
    assert busy.returncode == 2 and "another process is running the study" in busy.stderr
    nothing = tool("bins", "--work-dir", str(tmp_path / "w"), "--report")
    assert nothing.returncode == 2 and "no run of study bins is finished" in nothing.stderr
    assert "Traceback" not in unknown.stderr + other.stderr + nothing.stderr


@pytest.mark.once
def test_report_writes_nothing_but_the_report(tmp_path: Path) -> None:
    """Results of this study and of a sibling study are reported; only the report is written."""
    study = select_variants(find_study(CONFIGS / "ablation", "components"), ["qfl", "gfl"])
    work_dir = tmp_path / "work" / "components"
    data = SCALES["demo"].data.locate(work_dir.parent)
    configs = [SCALES["demo"].config(variant, CONFIGS, data) for variant in study.variants]
    own = plan_run(study.variants[0], 0, work_dir, configs[0], data)
    study_folder.reserve(work_dir, "components", "demo")
    give_result(own, ap=31.0)
    give_result(plan_run(study.variants[1], 0, work_dir.parent / "other", configs[1], data), ap=33.5)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    command = [sys.executable, str(ROOT / "tools" / "ablate.py"), "components", "--variants", "qfl", "gfl"]
    options = ["--seeds", "0", "--work-dir", str(work_dir), "--out", str(tmp_path / "out"), "--report"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = [tmp_path / "out" / f"components.{kind}" for kind in ("json", "md", "png")]
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert {path for path in after if path not in before} == {tmp_path / "out", *report}
    assert {path: after[path] for path in before} == before
    table = report[1].read_text()
    assert re.search(r"\| \+ QFL \| 31\.0 \|", table) and re.search(r"\| \+ both: GFL \| 33\.5 \|", table)
