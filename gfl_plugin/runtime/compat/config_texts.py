"""Config texts in checkpoints.

Problem: MMEngine executes the config text of a checkpoint on resume, to compare one number, and in inferencers without
    a config, to build a model. Building a model can run code even if the text is plain data: ``type`` may name any
    importable function.
Versions: MMEngine <= 0.10.7.
Change: on resume the text is parsed as data, and paths in the message hub that do not belong to the training are
    removed, since CheckpointHook would later delete these files. Inferencers without a config raise an error.
Not needed when: MMEngine executes no config text from a checkpoint.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.infer.infer import BaseInferencer
from mmengine.runner import FlexibleRunner, Runner

from ..config_text import ConfigTextError, are_data, parse, texts_are_data
from ..errors import CheckpointError
from ..resume import drop_foreign_paths


def _resume_from_data(resume: Callable) -> Callable:
    @functools.wraps(resume)
    def wrapped(self: Any, filename: str, *args: Any, **kwargs: Any) -> Any:
        try:
            with texts_are_data():
                resume(self, filename, *args, **kwargs)
        except ConfigTextError as error:
            raise CheckpointError(f"{filename} is refused, and no code from it was run: {error}") from error
        _drop_foreign_paths(self)

    return wrapped


def _drop_foreign_paths(runner: Any) -> None:
    """Remove paths outside the training's folders, since CheckpointHook deletes files that the message hub names."""
    work_dir = Path(runner.work_dir)
    elsewhere = [Path(hook.out_dir) / work_dir.name for hook in runner.hooks if getattr(hook, "out_dir", None)]
    dropped = drop_foreign_paths(runner.message_hub.runtime_info, [work_dir, *elsewhere])
    if dropped:
        runner.logger.warning(
            f"the entries {', '.join(dropped)} in the checkpoint's message hub are ignored: they name files outside "
            "the work folder, or are damaged"
        )


def close() -> str:
    """Replace the methods of MMEngine that execute config texts.

    Returns:
        What was changed.
    """
    run, build = Config.fromstring, BaseInferencer._init_model

    @functools.wraps(run)
    def fromstring(cfg_str: str, file_format: str) -> Config:
        return parse(cfg_str) if are_data() else run(cfg_str, file_format)

    @functools.wraps(build)
    def init_model(self: Any, cfg: Any, weights: str | None, device: str = "cpu") -> Any:
        if not cfg:
            raise CheckpointError(
                f"{weights}: the config in the file is not used, since building a model from it can run code. Pass "
                f"your own config (model=CONFIG, weights={str(weights)!r}), or, if you trust the author of the file, "
                f"model=gfl_plugin.embedded_config({str(weights)!r})"
            )
        return build(self, cfg, weights, device)

    Config.fromstring = staticmethod(fromstring)
    BaseInferencer._init_model = init_model
    for runner in (Runner, FlexibleRunner):
        runner.resume = _resume_from_data(runner.resume)
    return "config texts in checkpoints are parsed as data"
