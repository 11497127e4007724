"""CheckpointHook with atomic writes."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
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

# Parts of PyTorch's messages about a file that it cannot write: its own checks, and those of C++'s streams.
_TORCH_CANNOT_WRITE = ("inline_container.cc", "iostream error")


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """MMEngine's CheckpointHook with atomic writes, which survives kills and full disks.

    * A local checkpoint is written under a temporary name, flushed to the disk and renamed, so that no incomplete file
      has a checkpoint's name. ``last_checkpoint``, which ``--resume`` reads, is written the same way.
    * An old checkpoint is removed only after the new one is complete (``max_keep_ckpts``, ``save_best``).
    * If a checkpoint cannot be written (full disk), a warning is logged, training continues, and the next interval
      tries again. The last checkpoint is tried again when training ends.
    * If a training may overwrite the checkpoints of another one, a warning is logged.

    While a checkpoint is written, the disk holds one checkpoint more than the number to keep. Checkpoints of
    FlexibleRunner (FSDP, DeepSpeed), files or folders, are written the same way, except those of ``save_best``, which
    FlexibleRunner writes in place.

    Args:
        *args: as CheckpointHook.
        max_failures: number of consecutive checkpoints that may fail to be written; one more ends the training.
        **settings: as CheckpointHook. Files elsewhere (``backend_args``, an ``out_dir`` such as s3://) are written as
            by CheckpointHook.

    Raises:
        ValueError: if ``max_failures`` is below 0.
        OSError: in training, if writing has failed too often, or if the last checkpoint cannot be written.
    """

    def __init__(self, *args: Any, max_failures: int = 3, **settings: Any) -> None:
        super().__init__(*args, **settings)
        if not max_failures >= 0:
            raise ValueError(f"max_failures is {max_failures!r}; it must be an integer >= 0 (checkpoints)")
        self.max_failures = max_failures
        self._failures = 0  # consecutive ones
        self._unwritten: tuple[int, dict] | None = None  # step and meta of the last checkpoint if it failed

    # -----------------------------------------------------------------------------------------------
    # Start and end of the training
    # -----------------------------------------------------------------------------------------------

    def before_run(self, runner: Runner) -> None:
        super().before_run(runner)
        resumes = runner._resume or runner._load_from is not None
        if self._is_local(runner) and not resumes and (there := checkpoints_in(self._folder(runner))):
            runner.logger.warning(
                f"{self._folder(runner)} contains checkpoints of another training ({there[0].name}, {len(there)} in "
                "total), which this training may overwrite; --resume continues that training instead"
            )

    def _is_local(self, runner: Runner) -> bool:
        folder = str(self.out_dir or runner.work_dir)
        return self.backend_args in (None, dict(backend=BACKEND)) and not self.file_client_args and "://" not in folder

    def _folder(self, runner: Runner) -> Path:
        """The checkpoint folder, as CheckpointHook determines it in ``before_train``."""
        work_dir = Path(runner.work_dir)
        same = self.out_dir is None or str(self.out_dir) == str(runner.work_dir)
        return work_dir if same else Path(self.out_dir) / work_dir.name

    def before_train(self, runner: Runner) -> None:
        if self._is_local(runner):
            self.backend_args = dict(backend=BACKEND)
        super().before_train(runner)
        if self._local and is_main_process() and Path(self.out_dir).is_dir():
            for part in remove_parts(Path(self.out_dir)):
                runner.logger.info(f"removed the incomplete file {part} of a killed process")

    def after_train(self, runner: Runner) -> None:
        if self._unwritten is not None:
            self.max_failures = 0  # there is no later attempt
            self._save_checkpoint_with_step(runner, *self._unwritten)
        super().after_train(runner)

    @property
    def _local(self) -> bool:
        return self.backend_args == dict(backend=BACKEND)

    # -----------------------------------------------------------------------------------------------
    # Writing of a checkpoint
    # -----------------------------------------------------------------------------------------------

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if not self._local:
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        before = list(self.keep_ckpt_ids) if self.max_keep_ckpts > 0 else []
        last, info = self.last_ckpt, dict(runner.message_hub.runtime_info)
        if self._try(runner, lambda: self._write(runner, step, dict(meta))):
            self._unwritten, self._failures = None, 0
            return
        self._unwritten = (step, dict(meta))
        self.last_ckpt = last
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(before, self.max_keep_ckpts)
        _restore_info(runner, info)

    def _write(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = self._keep(step) if self.max_keep_ckpts > 0 else []
        if self.max_keep_ckpts > 0:
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        # FlexibleRunner's strategies write files or folders themselves, without a file backend.
        by_strategy = hasattr(runner, "strategy")
        temporary = f".{name}.part" if by_strategy else name
        self.last_ckpt = str(Path(self.out_dir) / name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        try:
            with _file_errors():
                runner.save_checkpoint(
                    self.out_dir,
                    temporary,
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
        if by_strategy and _any_process(error is not None):  # each process writes its own share
            if is_main_process():
                remove(Path(self.out_dir) / temporary)
            error = error or OSError("another process could not write its share")
        if error:
            raise error
        if is_main_process():
            if by_strategy:
                put_in_place(Path(self.out_dir) / temporary, Path(self.last_ckpt))
            try:
                write_whole(Path(runner.work_dir) / "last_checkpoint", self.last_ckpt)
            except OSError:
                remove(Path(self.last_ckpt))  # --resume would not find it, and the disk is full
                raise
            for old in outdated:
                remove(Path(self.out_dir, self.filename_tmpl.format(old)))

    def _try(self, runner: Runner, write: Callable[[], None]) -> bool:
        """Call ``write``; return whether it succeeded, or raise its OSError after too many failures."""
        try:
            write()
        except OSError as error:
            self._failures += 1
            if self._failures > self.max_failures:
                raise
            runner.logger.warning(
                f"a checkpoint could not be written ({in_a_line(error)}); the previous checkpoint is kept, and the "
                f"next interval tries again ({self._failures} of at most {self.max_failures} consecutive failures)"
            )
            return False
        return True

    def _keep(self, step: int) -> list[int]:
        """Add a checkpoint to those to keep; return the steps of checkpoints to remove."""
        kept = [old for old in self.keep_ckpt_ids if old != step] + [step]
        self.keep_ckpt_ids = deque(kept[-self.max_keep_ckpts :], self.max_keep_ckpts)
        return kept[: -self.max_keep_ckpts]

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self._local:
            super()._save_best_checkpoint(runner, metrics)
            return
        best = getattr(self, "best_ckpt_path", None), dict(getattr(self, "best_ckpt_path_dict", {}))
        info = dict(runner.message_hub.runtime_info)
        if not self._try(runner, lambda: self._write_best(runner, metrics)):
            # Keep the best score whose checkpoint exists.
            _restore_info(runner, info)
            if hasattr(self, "best_ckpt_path"):
                self.best_ckpt_path = best[0]
            if hasattr(self, "best_ckpt_path_dict"):
                self.best_ckpt_path_dict = best[1]

    def _write_best(self, runner: Runner, metrics: dict) -> None:
        with _file_errors(), self.file_backend.delayed_removals() as removed:
            super()._save_best_checkpoint(runner, metrics)
            best = [getattr(self, "best_ckpt_path", None), *getattr(self, "best_ckpt_path_dict", {}).values()]
            # An epoch that is trained again after a resume has the same file name.
            removed[:] = [path for path in removed if str(path) not in map(str, best)]


@contextlib.contextmanager
def _file_errors() -> Iterator[None]:
    """Raise an OSError where torch.save cannot write to a path, as DeepSpeed calls it: it raises a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        if not any(text in str(error) for text in _TORCH_CANNOT_WRITE):
            raise
        raise OSError(f"PyTorch could not write the file: {error}") from error


def _restore_info(runner: Runner, info: dict) -> None:
    """Restore the message hub's information, which becomes part of the next checkpoint."""
    runner.message_hub.runtime_info.clear()
    runner.message_hub.runtime_info.update(info)


def _any_process(failed: bool) -> bool:
    """Whether ``failed`` is true in any process; all processes must call this."""
    answer = torch.tensor(float(failed))
    all_reduce(answer, "max")
    return bool(answer.item())
