"""Progress of long work: bars on a terminal, and a plain line every few seconds where the output is not a terminal."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

INTERVAL = 5.0  # seconds between two plain lines
_PLAIN_WIDTH = 180  # characters of a table's line; a pipe has no width of its own


def output_console() -> Console:
    """The console of standard output, wide enough for tables where the output is not a terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=_PLAIN_WIDTH)


class Task:
    """One piece of work in a :class:`ProgressDisplay`."""

    def __init__(self, progress: Progress, description: str, total: float | None) -> None:
        self._progress = progress
        self._id = progress.add_task(description, total=total)

    def update(
        self, description: str | None = None, completed: float | None = None, total: float | None = None
    ) -> None:
        """Change what is shown; what is not given stays.

        Args:
            description: what is being done.
            completed: how much of ``total`` is done.
            total: how much there is to do.
        """
        self._progress.update(self._id, description=description, completed=completed, total=total)

    def close(self) -> None:
        """Stop showing the task."""
        self._progress.remove_task(self._id)


class ProgressDisplay:
    """Shows tasks and prints messages; see :func:`progress_display`."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.is_live = console.is_terminal
        columns = (TextColumn("{task.description:44}", markup=False), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(
            *columns, TextColumn("left"), TimeRemainingColumn(), console=console, disable=not self.is_live
        )
        self._started = time.monotonic()

    @contextlib.contextmanager
    def task(self, description: str, total: float | None = None) -> Iterator[Task]:
        """Show a task while the context lasts.

        Args:
            description: what is being done.
            total: how much there is to do; None where that is not known.
        """
        task = self.open_task(description, total)
        try:
            yield task
        finally:
            task.close()

    def open_task(self, description: str, total: float | None = None) -> Task:
        """Show a task until :meth:`Task.close`; for the arguments see :meth:`task`."""
        return Task(self._progress, description, total)

    def print(self, line: str) -> None:
        """Print a line that stays, above the bars."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def status_line(self) -> str:
        """All tasks in one line, after the seconds since the start; empty where there is no task."""
        tasks = "; ".join(map(_status, self._progress.tasks))
        return f"[{time.monotonic() - self._started:4.0f} s] {tasks}" if tasks else ""

    @contextlib.contextmanager
    def shown(self, interval: float) -> Iterator[None]:
        """Draw bars, or print the status line every ``interval`` seconds, while the context lasts."""
        if self.is_live:
            with self._progress:
                yield
            return
        stop = threading.Event()
        thread = threading.Thread(target=self._print_status, args=(stop, interval), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _print_status(self, stop: threading.Event, interval: float) -> None:
        while not stop.wait(interval):
            if line := self.status_line():
                self.print(line)


@contextlib.contextmanager
def progress_display(console: Console, interval: float = INTERVAL) -> Iterator[ProgressDisplay]:
    """A display that is shown while the context lasts.

    Args:
        console: where to show it.
        interval: seconds between two plain lines where the console is not a terminal.
    """
    display = ProgressDisplay(console)
    with display.shown(interval):
        yield display


def _status(task: rich.progress.Task) -> str:
    parts = [] if task.total is None else [f"{task.percentage:.0f} %"]
    if task.time_remaining:
        parts.append(f"{task.time_remaining:.0f} s left")
    return f"{task.description} ({', '.join(parts)})" if parts else task.description
