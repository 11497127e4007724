"""A long training with images of many sizes: memory, tensors, file handles and threads do not grow."""

from __future__ import annotations

import ctypes
import gc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from cases import FIGURES
from mmdet.structures import DetDataSample
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.structures import InstanceData
from runs import runner
from torch.utils.data import DataLoader, Dataset

pytestmark = [pytest.mark.once, pytest.mark.slow]

STEPS = 2000
WARM, EVERY = 200, 20  # steps before the first measurement; steps between measurements
IMAGES, SIDES, OBJECTS = 2, (64, 160), 40  # per batch; smallest and largest side, pixels; most objects per image
C_LIBRARY = ctypes.CDLL(None)


class AllSizes(Dataset):
    """Noise images of random sizes with random numbers of objects, some of which have zero size."""

    def __len__(self) -> int:
        return STEPS * IMAGES

    def __getitem__(self, index: int) -> dict:
        random = np.random.default_rng(index)
        height, width = (int(side) for side in random.integers(*SIDES, size=2))
        count = int(random.integers(0, OBJECTS + 1))
        corner = random.random((count, 2)) * (width, height)
        sides = random.random((count, 2)) ** 3 * (width, height) * (random.random((count, 1)) > 0.02)
        boxes = torch.from_numpy(np.concatenate([corner, corner + sides], axis=1)).float()
        shape = dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0))
        sample = DetDataSample(metainfo={**shape, "img_id": index, "img_path": f"{index}.jpg"})
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.from_numpy(random.integers(0, 10, count)))
        image = torch.from_numpy(random.integers(0, 256, (3, height, width), dtype=np.uint8))
        return dict(inputs=image, data_samples=sample)


@dataclass(frozen=True)
class Look:
    """Resources of the process at one step."""

    step: int
    memory: float  # MB resident, after free memory was returned to the system
    handles: int
    threads: int
    tensors: int

    @staticmethod
    def now(step: int) -> Look:
        gc.collect()
        # glibc keeps freed blocks between used ones; with varying sizes there are many.
        if hasattr(C_LIBRARY, "malloc_trim"):
            C_LIBRARY.malloc_trim(0)
        process = psutil.Process()
        tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
        return Look(step, process.memory_info().rss / 1e6, process.num_fds(), process.num_threads(), tensors)


class WatchHook(Hook):
    """Measures every EVERY steps, after a prediction on the same batch."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.looks: list[Look] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if (runner.iter + 1) % EVERY == 0:
            runner.model.eval()
            with torch.no_grad():
                runner.model.val_step(data_batch)
            runner.model.train()
            self.looks.append(Look.now(runner.iter + 1))


def test_nothing_grows(tmp_path: Path) -> None:
    watch = WatchHook()
    guards = ("ExactResumeHook", "NonFiniteGuardHook", "BadBoxesHook", "AssignmentStatsHook")
    hooks = [*(dict(type=f"gfl_plugin.{name}") for name in guards), watch]
    data = DataLoader(AllSizes(), batch_size=IMAGES, collate_fn=pseudo_collate)
    optimizer = dict(
        type="OptimWrapper", optimizer=dict(type="SGD", lr=1e-3, momentum=0.9), clip_grad=dict(max_norm=10)
    )
    runner(tmp_path, [], hooks, train_dataloader=data, optim_wrapper=optimizer).train()
    looks = [look for look in watch.looks if look.step >= WARM]
    last = looks[-1]
    assert last.step == STEPS
    second_half = looks[len(looks) // 2 :]
    FIGURES[f"soak of {STEPS} steps"] = (
        f"memory {looks[0].memory:.1f} MB at step {WARM}, {last.memory:.1f} at the end: {1000 * slope(looks):+.1f} kB "
        f"per step, {1000 * slope(second_half):+.1f} in the second half; {last.handles} file handles, {last.threads} "
        f"threads; {looks[0].tensors} tensors alive at step {WARM}, {last.tensors} at the end"
    )
    assert len({look.handles for look in looks}) == 1
    assert len({look.threads for look in looks}) == 1
    # Grids are cached for the last sizes only. One tensor leaked every tenth step would exceed this.
    assert last.tensors - looks[0].tensors < (STEPS - WARM) / 10
    # Leaking the largest level's class map every other step would be 10 kB/step, its box map 70 kB/step.
    assert slope(looks) < 0.010


def slope(looks: list[Look]) -> float:
    """MB/step, by least squares."""
    return float(np.polyfit([look.step for look in looks], [look.memory for look in looks], 1)[0])
