"""Hooks that every run has without naming them in its config."""

from __future__ import annotations

import functools
from collections.abc import Callable

from mmengine.hooks import Hook
from mmengine.runner import FlexibleRunner, Runner


def register_in_every_run(hook: type[Hook]) -> None:
    """Have MMEngine's runners register a hook, with its defaults, where the config does not name it."""
    for runner in (Runner, FlexibleRunner):
        runner.register_hooks = _with_hook(runner.register_hooks, hook)


def _with_hook(register_hooks: Callable, hook: type[Hook]) -> Callable:
    @functools.wraps(register_hooks)
    def with_hook(self: Runner, *args: object, **kwargs: object) -> None:
        register_hooks(self, *args, **kwargs)
        if not any(isinstance(one, hook) for one in self.hooks):
            self.register_hook(hook())

    return with_hook
