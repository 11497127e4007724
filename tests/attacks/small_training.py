"""Trainings of a fraction of a second: a tiny model with batch norm, dropout and random numbers in loading.

As a program, it is a server that imports packages once and forks a child per training, which the test kills.
"""

from __future__ import annotations

import builtins
import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import gfl_plugin  # noqa: F401  # isort: skip  (must precede mmdet without compiled ops)
import numpy as np
import torch
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmdet.structures import DetDataSample
from mmengine.dataset import DefaultSampler, InfiniteSampler, pseudo_collate
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from gfl_plugin.runtime import atomic_files

TESTS = Path(__file__).resolve().parents[1]
EPOCHS, STEPS = "EpochBasedTrainLoop", "IterBasedTrainLoop"
_NUMBER = itertools.count()
_ANSWER = "answer:"


@dataclass(frozen=True)
class Plan:
    """Settings of a training; all values can be stored as JSON."""

    loop: str = EPOCHS
    length: int = 3  # epochs, or iterations
    samples: int = 12
    batch: int = 4
    sampler: str = "DefaultSampler"
    by_shape: bool = False  # AspectRatioBatchSampler
    drop_last: bool = False
    workers: int = 0
    persistent: bool = False
    noise: bool = True  # use random numbers in loading, and dropout
    wrapper: str = "OptimWrapper"
    optimizer: str = "SGD"
    accumulate: int = 1
    clip: dict | None = None
    schedule: bool = False
    ema: dict | None = None  # settings of EMAHook
    guard: dict | None = field(default_factory=dict)  # settings of NonFiniteGuardHook; None to omit it
    exact: bool = True
    checkpoint: dict = field(default_factory=dict)  # settings of the checkpoint hook
    bad: dict[str, str] = field(default_factory=dict)  # kind of error per sample index
    left_out: list[int] = field(default_factory=list)  # samples that are not in the data set
    score: bool = False  # a new best checkpoint per epoch
    log: bool = False  # LoggerHook and LocalVisBackend
    infinite_buffer: bool = False
    full: list[int] = field(default_factory=list)  # first step with a full disk, first step without, free bytes


class Samples(Dataset):
    """Samples of two rows of three numbers."""

    metainfo = dict(classes=("a",))

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.indices = [index for index in range(plan.samples) if index not in plan.left_out]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> dict:
        index = self.indices[place]
        numbers = torch.Generator().manual_seed(index)
        inputs, target = torch.randn(2, 3, generator=numbers), float(torch.randn((), generator=numbers))
        if self.plan.noise:
            inputs = inputs + 0.1 * torch.rand(2, 3) + 0.1 * float(np.random.rand()) + 0.1 * random.random()  # noqa: NPY002
        fault = self.plan.bad.get(str(index))
        if fault in ("input nan", "input inf"):
            inputs[1, 2] = float(fault.split()[1])
        if fault in ("target nan", "target inf"):
            target = float(fault.split()[1])
        sample = DetDataSample(metainfo=dict(index=index, target=target, fault=fault or ""))
        return dict(inputs=inputs, data_samples=sample)

    def get_data_info(self, place: int) -> dict:
        return dict(width=1 + self.indices[place] % 2, height=2 - self.indices[place] % 2)


class Small(BaseModel):
    """Convolution, batch norm, dropout, a second branch that only some batches use, a linear layer."""

    def __init__(self, noise: bool, infinite_buffer: bool) -> None:
        super().__init__()
        self.inner, self.norm = nn.Conv1d(2, 4, 1), nn.BatchNorm1d(4)
        self.drop, self.outer = nn.Dropout(0.2 if noise else 0.0), nn.Linear(4, 1)
        self.side = nn.Linear(4, 1)
        if infinite_buffer:
            self.register_buffer("mask", torch.tensor([0.0, float("-inf"), float("nan")]))
        self.faults: set[str] = set()
        for name, weight in self.named_parameters():
            weight.register_hook(lambda gradient, name=name: self._spoiled(gradient, name))

    def _spoiled(self, gradient: Tensor, name: str) -> Tensor:
        for fault in self.faults:
            kind, value, *at = fault.split()
            if kind == "gradient" and at == [name]:
                gradient = gradient.clone()
                gradient.view(-1)[-1] = float(value)
        return gradient

    def forward(self, inputs: list[Tensor], data_samples: list, mode: str = "loss") -> dict[str, Tensor]:
        self.faults = {sample.fault for sample in data_samples if sample.fault}
        hidden = self.drop(self.norm(self.inner(torch.stack(list(inputs))))).relu().mean(dim=2)  # (B, 4)
        target = torch.tensor([[sample.target] for sample in data_samples])
        losses = dict(loss=(self.outer(hidden).float() - target).square().mean())
        if data_samples[0].index % 3 == 0:
            losses["loss_side"] = self.side(hidden).float().square().mean()
        for fault in self.faults:
            if fault.startswith("loss"):
                losses["loss"] = losses["loss"] * float(fault.split()[1])
        return losses


class Score(Hook):
    """Reports a better score after every epoch, without validation data."""

    priority = "LOWEST"

    def after_train_epoch(self, runner: Runner) -> None:
        for hook in runner.hooks:
            if hasattr(hook, "save_best"):
                hook.after_val_epoch(runner, {"score": float(runner.iter)})


class FullDisk(Hook):
    """Fills the disk of the work folder before one step, and frees it before another."""

    priority = "HIGHEST"

    def __init__(self, first: int, end: int, free: int) -> None:
        self.first, self.end, self.free = first, end, free

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        ballast = Path(runner.work_dir).parent / "ballast"
        if self.first <= runner.iter < self.end and not ballast.exists():
            there = os.statvfs(ballast.parent)
            size = max(there.f_bavail * there.f_frsize - self.free, 0)
            descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
            os.posix_fallocate(descriptor, 0, size) if size else None
            os.close(descriptor)
        if runner.iter >= self.end:
            ballast.unlink(missing_ok=True)


def loader(plan: Plan) -> DataLoader:
    data = Samples(plan)
    sampler = dict(
        DefaultSampler=lambda: DefaultSampler(data, shuffle=True, seed=5),
        InfiniteSampler=lambda: InfiniteSampler(data, shuffle=True, seed=5),
        SequentialSampler=lambda: SequentialSampler(data),
        RandomSampler=lambda: torch.utils.data.RandomSampler(data),
    )[plan.sampler]()
    kind = AspectRatioBatchSampler if plan.by_shape else BatchSampler
    return DataLoader(
        data,
        batch_sampler=kind(sampler, plan.batch, plan.drop_last),
        num_workers=plan.workers,
        persistent_workers=plan.persistent and plan.workers > 0,
        collate_fn=pseudo_collate,
    )


def runner(folder: Path, plan: Plan, hooks: list = (), **settings: Any) -> Runner:
    torch.manual_seed(1)
    custom = list(hooks)
    if plan.exact:
        custom.append(dict(type="gfl_plugin.ExactResumeHook"))
    if plan.guard is not None:
        custom.append(dict(type="gfl_plugin.NonFiniteGuardHook", **plan.guard))
    if plan.ema is not None:
        custom.append(dict(type="EMAHook", **plan.ema))
    if plan.full:
        custom.append(FullDisk(*plan.full))
    if plan.score:
        custom.append(Score())
    limit = dict(max_epochs=plan.length) if plan.loop == EPOCHS else dict(max_iters=plan.length)
    wrapper = dict(
        type=plan.wrapper,
        optimizer=dict(type=plan.optimizer, lr=0.05, **(dict(momentum=0.9) if plan.optimizer == "SGD" else {})),
        accumulative_counts=plan.accumulate,
        clip_grad=plan.clip,
    )
    if plan.wrapper == "AmpOptimWrapper":
        wrapper["dtype"] = "bfloat16"
    schedule = [
        dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=5),
        dict(type="MultiStepLR", by_epoch=plan.loop == EPOCHS, milestones=[1, 2], gamma=0.5),
    ]
    checkpoint = dict(type="gfl_plugin.WholeCheckpointHook", by_epoch=False, interval=1)
    config = dict(
        model=Small(plan.noise, plan.infinite_buffer),
        work_dir=str(folder),
        train_dataloader=loader(plan),
        train_cfg=dict(type=plan.loop, **limit),
        optim_wrapper=wrapper,
        param_scheduler=schedule if plan.schedule else None,
        default_hooks=dict(checkpoint={**checkpoint, **plan.checkpoint}, **({} if plan.log else dict(logger=None))),
        visualizer=dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]) if plan.log else None,
        custom_hooks=custom,
        default_scope="mmdet",
        randomness=dict(seed=3),
        experiment_name=f"run_{os.getpid()}_{next(_NUMBER)}",
        log_level="WARNING",
    )
    return Runner(**{**config, **settings})


def train(folder: Path, plan: Plan, hooks: list = (), **settings: Any) -> tuple[Runner, list[str]]:
    """Train, and return the runner and its warnings."""
    run = runner(folder, plan, hooks, **settings)
    said: list[str] = []
    run.logger.warning = lambda text, *args, **kwargs: said.append(str(text))
    try:
        run.train()
    finally:
        for handler in run.logger.handlers:
            handler.close()
    return run, said


def state(run: Runner) -> dict[str, Any]:
    """Copies of all state that training changes."""
    averages = [hook.ema_model.state_dict() for hook in run.hooks if hasattr(hook, "ema_model")]
    parts = dict(
        weights=run.model.state_dict(),
        averages=averages,
        optimizer=run.optim_wrapper.state_dict(),
        schedules=[one.state_dict() for one in run.param_schedulers or ()],
    )
    return torch.utils._pytree.tree_map(lambda value: value.clone() if torch.is_tensor(value) else value, parts)


def difference(one: Any, other: Any, where: str = "") -> str:
    """The first difference between two nested values; empty if all bits are equal."""
    if isinstance(one, Tensor):
        same = (
            isinstance(other, Tensor)
            and one.shape == other.shape
            and torch.equal(one.nan_to_num(7), other.nan_to_num(7))
        )
        return "" if same else f"{where}: {one} and {other}"
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return f"{where}: {set(one) ^ set(other)}"
        return next((text for key in one if (text := difference(one[key], other[key], f"{where}.{key}"))), "")
    if isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return f"{where}: {len(one)} and {len(other)}"
        pairs = enumerate(zip(one, other))
        return next((text for index, (a, b) in pairs if (text := difference(a, b, f"{where}.{index}"))), "")
    return "" if one == other or (one != one and other != other) else f"{where}: {one} and {other}"


def content(path: Path) -> dict[str, Any]:
    """The training state in a checkpoint."""
    saved = torch.load(path, weights_only=True)
    return {key: saved.get(key) for key in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers")}


# ---------------------------------------------------------------------------------------------------
# Trainings that are killed
# ---------------------------------------------------------------------------------------------------


def die_after(events: int, where: str) -> None:
    """Kill this process with SIGKILL at a function call.

    Args:
        events: number of calls before.
        where: "anywhere", or "files" to count only calls from files that write checkpoints and records.
    """
    left = events

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal left
        if where == "files" and "atomic_files" not in frame.f_code.co_filename:
            return
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)


def die_in_write(number: int) -> None:
    """Kill this process with SIGKILL when half of the bytes of a write are in the file."""
    left = number

    class Half:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Half:
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def write(self, data: bytes) -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                self.file.write(data[: len(data) // 2])
                self.file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            self.file.write(data)

    atomic_files.open = lambda *args, **kwargs: Half(builtins.open(*args, **kwargs))


def _child(job: dict) -> None:
    folder = Path(job["folder"])
    log = os.open(folder.parent / f"{folder.name}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.setsid()
    torch.set_num_threads(1)
    if job["largest_file"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"], resource.RLIM_INFINITY))
    if job["die"] is not None:
        kind, number = job["die"]
        die_in_write(number) if kind == "half" else die_after(number, kind)
    run = runner(folder, Plan(**job["plan"]), **job["settings"])
    run.train()


def serve() -> None:
    """Read one line of JSON per training; answer with its process id, and with its exit status at its end."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                _child(json.loads(line))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(_ANSWER, child, flush=True)
        print(_ANSWER, os.waitpid(child, 0)[1], flush=True)


class Server:
    """Starts trainings in separate processes."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS), str(TESTS / "attacks")]),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def train(
        self,
        folder: Path,
        plan: Plan,
        die: tuple[str, int] | None = None,
        wait: Callable[[int], None] | None = None,
        largest_file: int = 0,
        **settings: Any,
    ) -> int:
        """Run a training to its end.

        Args:
            folder: of the training.
            plan: of the training.
            die: kind and number of the event at which the process is killed.
            wait: function that is called with the process id and may kill it.
            largest_file: maximum size of files in bytes; 0 for no limit.
            **settings: of the runner.

        Returns:
            The exit status, negative if a signal ended the training.
        """
        job = dict(
            folder=str(folder),
            plan=asdict(plan),
            die=die,
            largest_file=largest_file,
            settings={"resume": True, **settings},
        )
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        child = self._answer()
        if wait is not None:
            wait(child)
        return os.waitstatus_to_exitcode(self._answer())

    def _answer(self) -> int:
        """The next number in the output; messages printed during imports are skipped."""
        line = next(line for line in self.process.stdout if line.startswith(_ANSWER))
        return int(line.split()[1])

    def close(self) -> None:
        """End the server. Closing its input is not enough, because forked data loader workers hold the pipe, too."""
        self.process.terminate()
        self.process.communicate()


def tail(folder: Path, characters: int = 1500) -> str:
    """The last output of a training in a separate process."""
    path = folder.parent / f"{folder.name}.txt"
    return path.read_text()[-characters:] if path.exists() else ""


def with_changes(plan: Plan, **changes: Any) -> Plan:
    return replace(plan, **changes)


def random_kinds(chance: random.Random) -> Iterator[tuple[str, int]]:
    """An infinite sequence of random events at which to kill."""
    while True:
        yield chance.choice(
            [
                ("anywhere", int(10 ** chance.uniform(2, 5.3))),
                ("files", int(10 ** chance.uniform(0, 3))),
                ("half", chance.randint(1, 30)),
            ]
        )


if __name__ == "__main__":
    serve()
