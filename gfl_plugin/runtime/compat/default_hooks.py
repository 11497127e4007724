"""Hooks of the plugin in every run.

Problem: MMEngine has no place where a package can add a hook to every run; a config has to name each hook.
Versions: MMEngine <= 0.10.7.
Change: Runner and FlexibleRunner register FirstStepsHook with its defaults unless the config names it.
Not needed when: MMEngine lets packages register default hooks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from mmengine.registry import HOOKS
from mmengine.runner import FlexibleRunner, Runner

_DEFAULT_HOOKS = ("gfl_plugin.FirstStepsHook",)


def close() -> str:
    """Add the hooks to both runners.

    Returns:
        What was changed.
    """
    for runner in (Runner, FlexibleRunner):
        runner.register_hooks = _with_default_hooks(runner.register_hooks)
    return f"every run has {', '.join(_DEFAULT_HOOKS)}"


def _with_default_hooks(register_hooks: Callable) -> Callable:
    @functools.wraps(register_hooks)
    def wrapped(self: Runner, *args: object, **kwargs: object) -> None:
        register_hooks(self, *args, **kwargs)
        for name in _DEFAULT_HOOKS:
            if not any(isinstance(hook, HOOKS.get(name)) for hook in self.hooks):
                self.register_hook(dict(type=name))

    return wrapped
