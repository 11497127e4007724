"""Checkpoints that are whole whenever the process is killed."""

from __future__ import annotations

from collections import deque
from pathlib import Path

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ..registry import HOOKS
from ..runtime.atomic_files import BACKEND, put_in_place, remove, remove_parts, write_whole


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """MMEngine's CheckpointHook, killed at any moment without a loss.

    * A local checkpoint is written under another name, brought to the disk, and renamed: a half-written one never bears
      a checkpoint's name. So is ``last_checkpoint``, which ``--resume`` reads.
    * An old checkpoint is removed when the new one is whole, not before (``max_keep_ckpts``, ``save_best``).

    The disk holds one checkpoint more than is kept while one is being written. FlexibleRunner's checkpoints (FSDP,
    DeepSpeed), files or folders, are treated alike, but for those of ``save_best``, which it writes in their place.

    Args: as CheckpointHook, which writes files elsewhere (``backend_args``, an ``out_dir`` such as s3://) as before.
    """

    def before_train(self, runner: Runner) -> None:
        folder = str(self.out_dir or runner.work_dir)
        if self.backend_args is None and self.file_client_args is None and "://" not in folder:
            self.backend_args = dict(backend=BACKEND)
        super().before_train(runner)
        if self._local and is_main_process() and Path(self.out_dir).is_dir():
            for part in remove_parts(Path(self.out_dir)):
                runner.logger.info(f"removed {part}, which a killed process left unfinished")

    @property
    def _local(self) -> bool:
        return self.backend_args == dict(backend=BACKEND)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if not self._local:
            super()._save_checkpoint_with_step(runner, step, meta)
            return
        outdated = self._make_room(step) if self.max_keep_ckpts > 0 else []
        if self.max_keep_ckpts > 0:
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        # FlexibleRunner's strategies write by themselves, several of them folders, and know no backend.
        by_strategy = hasattr(runner, "strategy")
        written = f".{name}.part" if by_strategy else name
        self.last_ckpt = str(Path(self.out_dir) / name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
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
        if by_strategy:
            barrier()  # every process has written its share
        if is_main_process():
            if by_strategy:
                put_in_place(Path(self.out_dir) / written, Path(self.last_ckpt))
            write_whole(Path(runner.work_dir) / "last_checkpoint", self.last_ckpt)
            for old in outdated:
                remove(Path(self.out_dir, self.filename_tmpl.format(old)))

    def _make_room(self, step: int) -> list[int]:
        """Note a checkpoint as kept; the steps of those that are not kept any more."""
        kept = [old for old in self.keep_ckpt_ids if old != step] + [step]
        self.keep_ckpt_ids = deque(kept[-self.max_keep_ckpts :], self.max_keep_ckpts)
        return kept[: -self.max_keep_ckpts]

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self._local:
            super()._save_best_checkpoint(runner, metrics)
            return
        with self.file_backend.removals_put_off() as removed:
            super()._save_best_checkpoint(runner, metrics)
            best = [getattr(self, "best_ckpt_path", None), *getattr(self, "best_ckpt_path_dict", {}).values()]
            # The same epoch, trained again after a resume, has the same name.
            removed[:] = [path for path in removed if str(path) not in map(str, best)]
