"""What a person sees while a study runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .plan import Run


class ProgressWatcher:
    """A bar for the study and one for each run under way; lines where the output is no terminal."""

    def __init__(self, progress: Progress, console: Console, total: int, done: int) -> None:
        self._progress = progress
        self._console = console
        self._finished = done
        self._parts: dict[str, float] = {}  # how much of each run under way is done
        self._bars: dict[str, TaskID] = {}
        self._study = progress.add_task(f"{done} of {total} runs", total=total - done)
        self._total, self._before = total, done

    def started(self, run: Run) -> None:
        self._bars[run.name] = self._progress.add_task(f"{run.name}: starting", total=None)
        self._say(f"started {run.name}")

    def advanced(self, run: Run, progress: dict) -> None:
        text = f"{run.name}: epoch {progress['epoch']} of {progress['epochs']}"
        self._progress.update(
            self._bars[run.name], description=text, completed=progress["step"], total=progress["steps"]
        )
        self._parts[run.name] = progress["step"] / progress["steps"]
        self._update()

    def ended(self, run: Run, failure: str | None) -> None:
        self._progress.remove_task(self._bars.pop(run.name))
        self._parts.pop(run.name, None)
        self._finished += 1
        self._update()
        if failure is not None:
            self._progress.print(f"[red]failed[/] {run.name}: {failure}")
        else:
            self._say(f"finished {run.name}: AP {run.result['AP']:.1f} after {run.result['seconds']:.0f} s")

    def _update(self) -> None:
        self._progress.update(
            self._study,
            description=f"{self._finished} of {self._total} runs",
            completed=self._finished - self._before + sum(self._parts.values()),
        )

    def _say(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(f"{self._finished} of {self._total}: {line}")


@contextlib.contextmanager
def watching(console: Console, total: int, done: int) -> Iterator[ProgressWatcher]:
    """A watcher whose bars are shown while the context lasts."""
    columns = (TextColumn("{task.description:44}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        yield ProgressWatcher(progress, console, total, done)
