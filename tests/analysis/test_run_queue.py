"""The processes of a study's runs: their GPUs and threads, and errors of one run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from gfl_plugin.analysis.progress import output_console, progress_display
from gfl_plugin.analysis.studies import run_queue, training_progress
from gfl_plugin.analysis.studies import run_study as run_study_module
from gfl_plugin.analysis.studies.plan import Run, plan_run
from gfl_plugin.analysis.studies.rate_grid import choose_rates
from gfl_plugin.analysis.studies.results import RunResult, find_results, write_result
from gfl_plugin.analysis.studies.run_display import RunDisplay
from gfl_plugin.analysis.studies.run_queue import train_runs
from gfl_plugin.analysis.studies.run_study import StudyPlace, run_study
from gfl_plugin.analysis.studies.scale import SmallScale
from gfl_plugin.analysis.studies.study import Variant, find_study, select_variants
from gfl_plugin.analysis.studies.study_data import EmbeddedData
from gfl_plugin.analysis.studies.training_progress import ProgressHook, read_progress
from gfl_plugin.demo.dataset import DemoSize

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@dataclass
class Processes:
    """Stands for the module ``subprocess``: its processes end at the second poll, after writing their figures."""

    STDOUT: int = subprocess.STDOUT
    figures: dict[str, object] = field(default_factory=lambda: dict(AP=1.0))  # of the test split
    codes: list[int] = field(default_factory=list)  # exit statuses of the first processes; those of the others are 0
    folders: list[Path] = field(default_factory=list)
    environments: list[dict[str, str]] = field(default_factory=list)
    killed: int = 0

    def Popen(self, command: list[str], env: dict[str, str], **streams: object) -> SimpleNamespace:  # noqa: N802
        folder, states = Path(command[-1]), [None, self.codes.pop(0) if self.codes else 0]
        self.folders.append(folder)
        self.environments.append(env)
        (folder / "figures.json").write_text(json.dumps(dict(**self.figures, parameters=10, step_ms=5.0, threads=1)))
        return SimpleNamespace(poll=lambda: states.pop(0), kill=self._kill, wait=lambda: 0)

    def _kill(self) -> None:
        self.killed += 1


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """The processes that are started, without a training; the user has set no number of threads."""
    started = Processes()
    monkeypatch.setattr(run_queue, "subprocess", started)
    monkeypatch.setattr(run_queue, "_POLL_INTERVAL", 0)
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return started


class Listener:
    """A watcher that records the runs that end."""

    def __init__(self) -> None:
        self.finishing: list[str] = []
        self.failures: dict[str, str] = {}

    def started(self, run: Run) -> None:
        pass

    def advanced(self, run: Run, progress: object) -> None:
        pass

    def finished(self, run: Run, result: RunResult) -> None:
        self.finishing.append(run.name)

    def failed(self, run: Run, message: str) -> None:
        self.failures[run.name] = message


def seeds_of(work_dir: Path, count: int) -> list[Run]:
    variant = Variant("a", Path("a.py"), "A", 0, None, {})
    return [plan_run(variant, seed, work_dir / "s", Config(dict(lr=1)), Path("/data")) for seed in range(count)]


@pytest.mark.parametrize(
    ("visible", "count", "expected"),
    [
        (None, 2, ["0", "1", "0"]),
        ("2,3", 2, ["2", "3", "2"]),
        ("GPU-8a, GPU-5f", 2, ["GPU-8a", "GPU-5f", "GPU-8a"]),
        ("3", 1, ["3", "3", "3"]),
        ("1,7", 1, ["1", "1", "1"]),  # a machine without a GPU 7: PyTorch sees GPU 1 only
    ],
)
def test_parallel_runs_are_on_different_gpus_of_those_that_the_user_made_visible(
    visible: str | None,
    count: int,
    expected: list[str],
    tmp_path: Path,
    processes: Processes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "GPU")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert train_runs(seeds_of(tmp_path, 3), 3, Listener()) == []
    assert [one["CUDA_VISIBLE_DEVICES"] for one in processes.environments] == expected


def test_runs_of_a_continued_study_have_the_same_threads(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --jobs, where fewer runs are missing than there are cores, or GPUs."""
    monkeypatch.setattr(run_queue, "available_cores", lambda: 8)
    monkeypatch.setattr(run_study_module, "available_cores", lambda: 8)
    study = select_variants(find_study(CONFIGS / "ablation", "components"), ["qfl", "gfl"])
    scale = SmallScale(EmbeddedData(DemoSize(train=2, val=1, side=64)), "demo_data.py", 1, 2, 10, None)

    def threads(name: str) -> list[str]:
        before = len(processes.environments)
        place = StudyPlace(study, scale, "small", (0, 1), tmp_path / name / "s", tmp_path, CONFIGS)
        with progress_display(output_console()) as display:
            run_study(place, None, display)
        return [one["OMP_NUM_THREADS"] for one in processes.environments[before:]]

    def interrupted(name: str) -> None:
        (tmp_path / name / "s" / "qfl" / "seed_1" / "result.json").unlink()

    assert threads("cpu") == ["2"] * 4  # four runs share eight cores
    interrupted("cpu")
    assert threads("cpu") == ["2"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "GPU")
    assert threads("gpu") == ["4"] * 4  # two GPUs
    interrupted("gpu")
    assert threads("gpu") == ["4"]


def failing_for(run: Run, function: Callable) -> Callable:
    """The function, with an error as on a full disk for one run."""

    def failing(one: Run, *arguments: object) -> object:
        if one == run:
            raise OSError(28, "No space left on device")
        return function(one, *arguments)

    return failing


def test_a_result_that_cannot_be_written_is_a_failure_of_its_run_only(
    tmp_path: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, listener = seeds_of(tmp_path, 4), Listener()
    monkeypatch.setattr(run_queue, "write_result", failing_for(runs[0], write_result))
    assert train_runs(runs, 2, listener) == [runs[0]]
    assert listener.failures == {runs[0].name: "its result cannot be written: [Errno 28] No space left on device"}
    assert set(listener.finishing) == set(find_results(runs)) == {run.name for run in runs[1:]}
    assert processes.killed == 0


def test_a_run_that_cannot_be_started_does_not_stop_the_others(tmp_path: Path, processes: Processes) -> None:
    """Its folder cannot be created. The display, to which it is no run in training, shows it as failed."""
    runs, listener = seeds_of(tmp_path, 4), Listener()
    runs[1].folder.parent.mkdir(parents=True)
    runs[1].folder.symlink_to(tmp_path / "nowhere" / "else")
    with progress_display(output_console()) as display:
        shown = RunDisplay(display, len(runs), 0)
        listener.started, listener.advanced = shown.started, shown.advanced
        failed, finished = listener.failed, listener.finished
        listener.failed = lambda run, message: (failed(run, message), shown.failed(run, message))
        listener.finished = lambda run, result: (finished(run, result), shown.finished(run, result))
        assert train_runs(runs, 1, listener) == [runs[1]]
    assert listener.failures[runs[1].name].startswith("cannot be started: [Errno ")
    assert listener.finishing == [run.name for run in runs if run != runs[1]]
    assert processes.folders == [run.folder for run in runs if run != runs[1]]


def test_output_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path, processes: Processes) -> None:
    """The process of the first run fails, and its output is gone; the second finishes."""
    runs, listener = seeds_of(tmp_path, 2), Listener()
    processes.codes = [1]
    listener.started = lambda run: (run.folder / "output.txt").unlink() if run == runs[0] else None
    assert train_runs(runs, 1, listener) == [runs[0]]
    assert listener.failures[runs[0].name].startswith("exit status 1; its output cannot be read: [Errno 2]")
    assert listener.finishing == [runs[1].name]


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"step": 1}'])
def test_progress_that_cannot_be_read_is_not_shown(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "progress.json").write_text(content)
    assert read_progress(tmp_path) is None


def test_a_split_without_objects_is_shown_and_chooses_no_rate(
    tmp_path: Path, processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    """COCO's AP is not defined there, so the figures of the runs have none."""
    runs = seeds_of(tmp_path, 1)
    processes.figures = dict(val=dict(AP50=1.0))
    with progress_display(output_console()) as display:
        assert train_runs(runs, 1, RunDisplay(display, 1, 0)) == []
    assert "AP –, – on the validation split" in capsys.readouterr().out
    with pytest.raises(ValueError, match="a, seed 0 has no AP on the validation split.* omit --lr"):
        choose_rates(runs, find_results(runs))


def test_progress_that_cannot_be_written_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written again as soon as that is possible."""
    monkeypatch.setattr(training_progress, "_INTERVAL", -1.0)
    folder = tmp_path / "missing"
    hook = ProgressHook(folder)
    hook.after_train_iter(SimpleNamespace(iter=0, max_iters=9, epoch=0, max_epochs=3), 0)
    folder.mkdir()
    hook.after_train_iter(SimpleNamespace(iter=4, max_iters=9, epoch=1, max_epochs=3), 4)
    assert read_progress(folder).step == 5
