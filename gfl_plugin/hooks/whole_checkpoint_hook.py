"""Checkpoints that are whole whenever the process is killed or the disk is full."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ..registry import HOOKS
from ..runtime.atomic_files import BACKEND, put_in_place, remove, remove_parts, write_whole
from ..runtime.errors import in_a_line
from ..runtime.resume import checkpoints_in


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """MMEngine's CheckpointHook with atomic writes, which survives kills and full disks.

    * A local checkpoint is written under another name, brought to the disk, and renamed: a half-written one never bears
      a checkpoint's name. So is ``last_checkpoint``, which ``--resume`` reads.
    * An old checkpoint is removed when the new one is whole, not before (``max_keep_ckpts``, ``save_best``).
    * A checkpoint that cannot be written (a full disk) is a warning; training goes on, and the next interval tries
      again. The last one is tried again when training ends.
    * A training that may overwrite the checkpoints of another says so.

    The disk holds one checkpoint more than is kept while one is being written. FlexibleRunner's checkpoints (FSDP,
    DeepSpeed), files or folders, are treated alike, but for those of ``save_best``, which it writes in their place.

    Args:
        max_failures: checkpoints in a row that may fail to be written; one more ends the training.
        **settings: as CheckpointHook, which writes files elsewhere (``backend_args``, an ``out_dir`` such as s3://) as
            before.

    Raises:
        ValueError: for ``max_failures`` below 0.
        OSError: in training, where writing has failed too often, or for the last checkpoint.
    """

    def __init__(self, *args: Any, max_failures: int = 3, **settings: Any) -> None:
        super().__init__(*args, **settings)
        if not max_failures >= 0:
            raise ValueError(f"max_failures is {max_failures!r}; it must be a number of checkpoints >= 0")
        self.max_failures = max_failures
        self._failures = 0  # in a row
        self._unwritten: tuple[int, dict] | None = None  # step and meta of the last one that failed

    # -----------------------------------------------------------------------------------------------
    # When training begins and ends
    # -----------------------------------------------------------------------------------------------

    def before_run(self, runner: Runner) -> None:
        super().before_run(runner)
        resumes = runner._resume or runner._load_from is not None
        if self._is_local(runner) and not resumes and (there := checkpoints_in(self._folder(runner))):
            runner.logger.warning(
                f"{self._folder(runner)} holds checkpoints of another training ({there[0].name}, {len(there)} in all), "
                "which this one may overwrite; --resume would go on with it"
            )

    def _is_local(self, runner: Runner) -> bool:
        folder = str(self.out_dir or runner.work_dir)
        return self.backend_args in (None, dict(backend=BACKEND)) and not self.file_client_args and "://" not in folder

    def _folder(self, runner: Runner) -> Path:
        """Where checkpoints are, as CheckpointHook settles it when training begins."""
        work_dir = Path(runner.work_dir)
        same = self.out_dir is None or str(self.out_dir) == str(runner.work_dir)
        return work_dir if same else Path(self.out_dir) / work_dir.name

    def before_train(self, runner: Runner) -> None:
        if self._is_local(runner):
            self.backend_args = dict(backend=BACKEND)
        super().before_train(runner)
        if self._local and is_main_process() and Path(self.out_dir).is_dir():
            for part in remove_parts(Path(self.out_dir)):
                runner.logger.info(f"removed {part}, which a killed process left unfinished")

    def after_train(self, runner: Runner) -> None:
        if self._unwritten is not None:
            self.max_failures = 0  # nobody will try again
            self._save_checkpoint_with_step(runner, *self._unwritten)
        super().after_train(runner)

    @property
    def _local(self) -> bool:
        return self.backend_args == dict(backend=BACKEND)

    # -----------------------------------------------------------------------------------------------
    # A checkpoint
    # -----------------------------------------------------------------------------------------------

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if not self._local:
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        before = list(self.keep_ckpt_ids) if self.max_keep_ckpts > 0 else []
        last, told = self.last_ckpt, dict(runner.message_hub.runtime_info)
        if self._tried(runner, lambda: self._write(runner, step, dict(meta))):
            self._unwritten, self._failures = None, 0
            return
        self._unwritten = (step, dict(meta))
        self.last_ckpt = last
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(before, self.max_keep_ckpts)
        _set_info(runner, told)

    def _write(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = self._make_room(step) if self.max_keep_ckpts > 0 else []
        if self.max_keep_ckpts > 0:
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        # FlexibleRunner's strategies write by themselves, several of them folders, and know no backend.
        by_strategy = hasattr(runner, "strategy")
        written = f".{name}.part" if by_strategy else name
        self.last_ckpt = str(Path(self.out_dir) / name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        try:
            runner.save_checkpoint(
                self.out_dir,
                written,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            error = None
        except OSError as failure:
            error = failure
        if by_strategy and _anybody(error is not None):  # every process has written its share, or tried to
            if is_main_process():
                remove(Path(self.out_dir) / written)
            error = error or OSError("another process could not write its share")
        if error:
            raise error
        if is_main_process():
            if by_strategy:
                put_in_place(Path(self.out_dir) / written, Path(self.last_ckpt))
            try:
                write_whole(Path(runner.work_dir) / "last_checkpoint", self.last_ckpt)
            except OSError:
                remove(Path(self.last_ckpt))  # nobody would find it, and a full disk needs the room
                raise
            for old in outdated:
                remove(Path(self.out_dir, self.filename_tmpl.format(old)))

    def _tried(self, runner: Runner, write: Callable[[], None]) -> bool:
        """Whether something could be written; where not so for too often, the error."""
        try:
            write()
        except OSError as error:
            self._failures += 1
            if self._failures > self.max_failures:
                raise
            runner.logger.warning(
                f"a checkpoint could not be written ({in_a_line(error)}); the one before stands, training goes on and "
                f"tries again at the next interval ({self._failures} of at most {self.max_failures} failures in a row)"
            )
            return False
        return True

    def _make_room(self, step: int) -> list[int]:
        """Note a checkpoint as kept; the steps of those that are not kept any more."""
        kept = [old for old in self.keep_ckpt_ids if old != step] + [step]
        self.keep_ckpt_ids = deque(kept[-self.max_keep_ckpts :], self.max_keep_ckpts)
        return kept[: -self.max_keep_ckpts]

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self._local:
            super()._save_best_checkpoint(runner, metrics)
            return
        best = getattr(self, "best_ckpt_path", None), dict(getattr(self, "best_ckpt_path_dict", {}))
        told = dict(runner.message_hub.runtime_info)
        if not self._tried(runner, lambda: self._write_best(runner, metrics)):
            # The score to beat is the one whose checkpoint there is.
            _set_info(runner, told)
            if hasattr(self, "best_ckpt_path"):
                self.best_ckpt_path = best[0]
            if hasattr(self, "best_ckpt_path_dict"):
                self.best_ckpt_path_dict = best[1]

    def _write_best(self, runner: Runner, metrics: dict) -> None:
        with self.file_backend.removals_put_off() as removed:
            super()._save_best_checkpoint(runner, metrics)
            best = [getattr(self, "best_ckpt_path", None), *getattr(self, "best_ckpt_path_dict", {}).values()]
            # The same epoch, trained again after a resume, has the same name.
            removed[:] = [path for path in removed if str(path) not in map(str, best)]


def _set_info(runner: Runner, info: dict) -> None:
    """Have the message hub, which is part of the next checkpoint, say what it said before."""
    runner.message_hub.runtime_info.clear()
    runner.message_hub.runtime_info.update(info)


def _anybody(failed: bool) -> bool:
    """Whether something is so in any process; all have to ask."""
    answer = torch.tensor(float(failed))
    all_reduce(answer, "max")
    return bool(answer.item())
