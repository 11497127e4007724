"""A training killed with SIGKILL and resumed ends with the same bits as an uninterrupted one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gfl_plugin.demo.dataset import DemoSize, make_dataset

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
STEPS_PER_EPOCH, EPOCHS, INTERVAL = 6, 4, 2
CONFIG = """
_base_ = {base!r}
custom_imports = dict(imports=["gfl_plugin", "training_witness"], allow_failed_imports=False)
randomness = {randomness}
# Random numbers in the data, which are drawn where samples are loaded.
pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="RandomResize", scale=(64, 64), ratio_range=(0.8, 1.2)),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(
    dataset=dict(pipeline=pipeline), num_workers={workers}, persistent_workers={workers} > 0, sampler={sampler}
)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval={interval}, max_keep_ckpts=1))
custom_hooks = [
    dict(type="gfl_plugin.ExactResumeHook"),
    dict(type="gfl_plugin.NonFiniteGuardHook"),
    dict(type="WitnessHook"),
    dict(type="EMAHook"),
]
val_dataloader = val_evaluator = val_cfg = None
{loop}
"""
EPOCH_LOOP = f"train_cfg = dict(type='EpochBasedTrainLoop', max_epochs={EPOCHS}, _delete_=True)"
STEP_LOOP = f"train_cfg = dict(type='IterBasedTrainLoop', max_iters={EPOCHS * STEPS_PER_EPOCH}, _delete_=True)"
DEFAULT_SAMPLER = dict(type="DefaultSampler", shuffle=True)


@pytest.fixture(scope="module")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    size = DemoSize(train=4 * STEPS_PER_EPOCH, val=2, side=64)
    return make_dataset(tmp_path_factory.mktemp("demo") / "data", size)


class Training:
    """A training in a folder that is restarted after each kill."""

    def __init__(self, folder: Path, data: Path, config: str) -> None:
        folder.mkdir()
        self.folder, self.data = folder, data
        self.config = folder / "config.py"
        self.config.write_text(config)
        self.work_dir = folder / "work"
        self.steps = folder / "steps.txt"

    def start(self, slow_step: int | None = None) -> subprocess.Popen:
        self.steps.write_text("")
        environment = {
            **os.environ,
            "GFL_DEMO_DATA": str(self.data),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}",
            "OMP_NUM_THREADS": "1",
            "WITNESS_STEPS": str(self.steps),
            **({} if slow_step is None else {"WITNESS_SLOW_STEP": str(slow_step)}),
        }
        command = [
            sys.executable,
            "-W",
            "ignore",
            "tools/train.py",
            self.config,
            "--work-dir",
            self.work_dir,
            "--resume",
        ]
        log = (self.folder / "log.txt").open("a")
        return subprocess.Popen(
            [*map(str, command), "--resume"], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )

    def wait_for(self, process: subprocess.Popen, ready, what: str) -> None:
        deadline = time.monotonic() + 120
        while not ready():
            assert process.poll() is None, f"training ended before {what}:\n{self.tail()}"
            assert time.monotonic() < deadline, f"no {what} within two minutes"
            time.sleep(0.002)

    def kill(self, process: subprocess.Popen) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def kill_at(self, step: int, delay: float) -> None:
        """Kill after a step and a delay in seconds."""
        process = self.start()
        self.wait_for(process, lambda: str(step) in self.steps.read_text().split(), f"step {step}")
        time.sleep(delay)
        self.kill(process)

    def kill_while_writing(self, step: int) -> None:
        """Kill while a step's checkpoint is being written."""
        process = self.start(slow_step=step)
        self.wait_for(
            process, lambda: any(self.work_dir.glob(f".iter_{step}.pth.*.part")), f"half of checkpoint {step}"
        )
        self.kill(process)
        assert any(self.work_dir.glob(f".iter_{step}.pth.*.part"))
        assert not (self.work_dir / f"iter_{step}.pth").exists()
        assert (self.work_dir / f"iter_{step - INTERVAL}.pth").exists(), "the previous checkpoint must exist until then"

    def finish(self) -> dict:
        process = self.start()
        assert process.wait(timeout=180) == 0, self.tail()
        assert not list(self.work_dir.glob(".*.part"))
        return torch.load(self.work_dir / f"iter_{EPOCHS * STEPS_PER_EPOCH}.pth", weights_only=True)

    def tail(self) -> str:
        return (self.folder / "log.txt").read_text()[-3000:]


def config(loop: str = EPOCH_LOOP, workers: int = 0, sampler: dict = DEFAULT_SAMPLER, seed: bool = True) -> str:
    base = str(ROOT / "configs" / "demo" / "gfl_r18_demo_trusted.py")
    randomness = "dict(seed=3)" if seed else "dict(seed=None)"
    values = dict(base=base, loop=loop, workers=workers, sampler=sampler, interval=INTERVAL, randomness=randomness)
    return CONFIG.format(**values)


def assert_same_bits(one: object, other: object, where: str = "") -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), f"{where} differs by up to {(one - other).abs().max():.1e}"
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same_bits(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other)):
            assert_same_bits(a, b, f"{where}.{index}")
    else:
        assert one == other, where


def assert_same_training(one: dict, other: dict) -> None:
    for part in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
        assert_same_bits(one[part], other[part], part)


@pytest.mark.slow
def test_killed_five_times(demo_data: Path, tmp_path: Path) -> None:
    """The final state is the same after four kills at random times and one while a checkpoint is being written."""
    alone = Training(tmp_path / "alone", demo_data, config()).finish()
    chance = random.Random()  # not seeded; pytest prints the moments if the test fails
    killed = Training(tmp_path / "killed", demo_data, config())
    moments = [(5 * number + chance.randint(1, 4), chance.uniform(0, 0.1)) for number in range(4)]
    print("killed at (step, seconds after it)", moments)
    for number, (step, delay) in enumerate(moments):
        killed.kill_at(step, delay)
        if number == 1:
            killed.kill_while_writing(12)
    assert_same_training(alone, killed.finish())


def test_infinite_sampler_with_and_without_workers(demo_data: Path, tmp_path: Path) -> None:
    """A killed IterBasedTrainLoop with two workers ends with the same state as an uninterrupted one without workers."""
    sampler = dict(type="InfiniteSampler", shuffle=True)
    alone = Training(tmp_path / "alone", demo_data, config(STEP_LOOP, sampler=sampler)).finish()
    killed = Training(tmp_path / "killed", demo_data, config(STEP_LOOP, 2, sampler))
    killed.kill_at(random.Random().randint(3, 20), 0.0)
    assert_same_training(alone, killed.finish())
