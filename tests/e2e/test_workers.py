"""Training in several processes started by torchrun: the same step as in one process, and no deadlock."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from gfl_plugin.demo.dataset import DemoSize, make_dataset

pytestmark = pytest.mark.once

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def torchrun(workers: int, script: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc_per_node", workers]
    command += ["--master_addr", "127.0.0.1", "--master_port", port, script, *arguments]
    threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=240,  # ends a deadlock
        env={**os.environ, **threads, **environment},
    )


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_step_of_several_processes_equals_that_of_one(workers: int) -> None:
    """Losses and gradients equal those of the joined batch, even if a process has no object or ignores its images."""
    done = torchrun(workers, HERE / "step_of_workers.py")
    assert done.returncode == 0, done.stderr[-3000:]
    cases = [line.split("|")[1:] for line in done.stdout.splitlines() if line.startswith("case|")]
    assert len(cases) == 8
    for name, scores, loss, gradient, total in cases:
        assert float(total) > 0
        if scores == "usual":
            assert float(loss) <= 1e-6, name
            assert float(gradient) <= 1e-6, name
        elif name != "no objects at all":
            # Box losses are divided by max(1, mean over processes of the sum of scores), as in MMDetection: where
            # that mean is below 1, more processes give a smaller loss.
            assert 0.1 < float(loss) < 1, name


def test_sharded_steps_equal_those_of_one_process() -> None:
    """With FSDP and clipping in two processes, losses, weights after two steps, names and shapes are equal."""
    done = torchrun(2, HERE / "sharded_steps_of_workers.py")
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("sharded|")]
    share, loss, weights, norm, clipped = (float(value) for value in line.split("|")[1:])
    assert 0.49 < share < 0.52, "each process holds half of the weights"
    assert loss <= 1e-6
    assert weights <= 1e-6, "relative to the largest change, and beyond rounding errors of the weights"
    assert norm <= 1e-6
    assert clipped > 0.5, "nothing was clipped"


def test_a_metric_of_several_processes_equals_that_of_one() -> None:
    """Seven images in two processes: an image that the sampler has repeated counts once."""
    done = torchrun(2, HERE / "metric_of_workers.py")
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("metric|")]
    workers, images, difference = line.split("|")[1:]
    assert (workers, images) == ("2", "4")
    assert float(difference) <= 1e-12


@pytest.fixture(scope="module")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("demo") / "data", DemoSize(train=12, val=2, side=96))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed"])
def test_sharded_training_by_the_launcher(tmp_path: Path, demo_data: Path, strategy: str) -> None:
    """Two epochs with and without a resume have the same losses, and with FSDP the same bits."""
    if strategy == "deepspeed":
        pytest.importorskip("deepspeed", reason="DeepSpeed is not installed (tried by hand, see docs/machines.md)")
    config = tmp_path / "config.py"
    config.write_text(
        f"_base_ = {str(ROOT / 'configs' / 'demo' / f'gfl_r18_demo_{strategy}.py')!r}\n"
        'default_hooks = dict(checkpoint=dict(type="gfl_plugin.WholeCheckpointHook", max_keep_ckpts=1))\n'
        'custom_hooks = [dict(type="gfl_plugin.ExactResumeHook")]\n'
        "randomness = dict(seed=0)\n"
        # No cosine schedule: its length would depend on the number of epochs of each run.
        'param_scheduler = [dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100)]\n'
        "train_dataloader = dict(batch_size=2)\n"
        "val_dataloader = val_evaluator = val_cfg = None\n"
    )

    def train(folder: str, epochs: int, *more: str) -> tuple[Path, list[float]]:
        work = tmp_path / folder
        options = ("--cfg-options", f"train_cfg.max_epochs={epochs}", "default_hooks.logger.interval=1")
        arguments = (config, "--work-dir", work, "--launcher", "pytorch", *more, *options)
        done = torchrun(2, ROOT / "tools" / "train.py", *arguments, GFL_DEMO_DATA=str(demo_data))
        assert done.returncode == 0, done.stderr[-3000:]
        assert (work / "last_checkpoint").read_text() == str(work / f"epoch_{epochs}.pth")
        assert [path.name for path in work.glob("*.pth")] == [f"epoch_{epochs}.pth"]
        assert not list(work.glob(".*.part"))
        return work / f"epoch_{epochs}.pth", [float(loss) for loss in re.findall(r" loss: (\S+)", done.stdout)]

    whole, losses = train("whole", 2)
    _, first = train("resumed", 1)
    resumed, second = train("resumed", 2, "--resume")
    assert len(losses) == 6 and first + second == losses
    if strategy == "fsdp":
        expected, found = (torch.load(path, weights_only=True)["state_dict"] for path in (whole, resumed))
        assert all(torch.equal(found[name], value) for name, value in expected.items())
        detector = MODELS.build(Config.fromfile(config).model)
        detector.load_state_dict(expected, strict=True)


def train_with_a_nan(folder: Path, data: Path, config: str, action: str) -> subprocess.CompletedProcess:
    """Train with MMDetection's launcher and a NaN in the second process's second batch."""
    own = folder / "config.py"
    own.write_text(
        f"_base_ = {str(ROOT / 'configs' / 'demo' / config)!r}\n"
        'custom_imports = dict(imports=["gfl_plugin", "nan_in_one_process"], allow_failed_imports=False)\n'
        "custom_hooks = [\n"
        '    dict(type="gfl_plugin.ExactResumeHook"),\n'
        '    dict(type="NanInOneProcessHook"),\n'
        f'    dict(type="gfl_plugin.NonFiniteGuardHook", action={action!r}),\n'
        "]\n"
        "train_dataloader = dict(batch_size=2)\n"
        "train_cfg = dict(max_epochs=1, val_interval=9)\n"
        "val_dataloader = val_evaluator = val_cfg = None\n"
    )
    arguments = (own, "--work-dir", folder / "work", "--launcher", "pytorch")
    script = ROOT / "tools" / "train.py"
    return torchrun(2, script, *arguments, GFL_DEMO_DATA=str(data), NAN_TRACE=str(folder))


def skipped_and_sums(folder: Path) -> list[list[str]]:
    """Per process: the number of skipped steps, and the sum of its weights."""
    return [(folder / f"rank_{rank}.txt").read_text().split() for rank in range(2)]


def is_sound(checkpoint: Path) -> bool:
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    return all(bool(value.isfinite().all()) for value in saved.values() if value.is_floating_point())


@pytest.mark.parametrize("action", ["skip", pytest.param("stop", marks=pytest.mark.slow)])
def test_one_process_with_a_nan(tmp_path: Path, demo_data: Path, action: str) -> None:
    """All processes skip the step, or all of them stop."""
    done = train_with_a_nan(tmp_path, demo_data, "gfl_r18_demo_trusted.py", action)
    records = sorted(path.name for path in (tmp_path / "work" / "non_finite").iterdir())
    assert "iter_2_rank_1.pth" in records
    if action == "stop":
        assert done.returncode != 0
        assert "skipped optimizer step 2" in done.stdout + done.stderr
        return
    assert done.returncode == 0, done.stderr[-3000:]
    (skipped, weights), other = skipped_and_sums(tmp_path)
    assert skipped == "1", "each process skipped one step"
    assert [skipped, weights] == other, "weights differ between processes"
    assert is_sound(tmp_path / "work" / "epoch_1.pth")


@pytest.mark.slow
def test_one_process_with_a_nan_and_sharded_weights(tmp_path: Path, demo_data: Path) -> None:
    done = train_with_a_nan(tmp_path, demo_data, "gfl_r18_demo_fsdp.py", "skip")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "no record" in done.stdout + done.stderr
    assert [skipped for skipped, _ in skipped_and_sums(tmp_path)] == ["1", "1"]
    assert is_sound(tmp_path / "work" / "epoch_1.pth")
