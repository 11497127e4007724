"""MMEngine runs config texts that it finds in checkpoints: on resume, and in inferencers without a config.

On resume it only compares one number of it; here the text is read as data. An inferencer builds a model from it, which
can run code even where the text is data (a ``type`` may name any function that can be imported); here it asks for a
config of the user's own.

Versions: MMEngine <= 0.10.7. Can go when it does neither.
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
            raise CheckpointError(f"{filename} is refused, and nothing in it was run: {error}") from error
        _drop_foreign_paths(self)

    return wrapped


def _drop_foreign_paths(runner: Any) -> None:
    """CheckpointHook later removes what the message hub says is its own."""
    work_dir = Path(runner.work_dir)
    elsewhere = [Path(hook.out_dir) / work_dir.name for hook in runner.hooks if getattr(hook, "out_dir", None)]
    dropped = drop_foreign_paths(runner.message_hub.runtime_info, [work_dir, *elsewhere])
    if dropped:
        runner.logger.warning(
            f"the checkpoint's notes on {', '.join(dropped)} name files outside of this training's folder, or are "
            "damaged; they are not used, and the files stay"
        )


def close() -> str:
    """Let no config text out of a checkpoint be run."""
    run, build = Config.fromstring, BaseInferencer._init_model

    @functools.wraps(run)
    def fromstring(cfg_str: str, file_format: str) -> Config:
        return parse(cfg_str) if are_data() else run(cfg_str, file_format)

    @functools.wraps(build)
    def init_model(self: Any, cfg: Any, weights: str | None, device: str = "cpu") -> Any:
        if not cfg:
            raise CheckpointError(
                f"{weights}: the config inside is not used, since building a model from it can run code. Pass your own "
                f"(model=CONFIG, weights={str(weights)!r}), or the one inside, where you trust its author: "
                f"model=gfl_plugin.embedded_config({str(weights)!r})"
            )
        return build(self, cfg, weights, device)

    Config.fromstring = staticmethod(fromstring)
    BaseInferencer._init_model = init_model
    for runner in (Runner, FlexibleRunner):
        runner.resume = _resume_from_data(runner.resume)
    return "config texts inside of checkpoints are read as data"
