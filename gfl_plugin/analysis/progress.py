"""Progress display: bars on a terminal, and otherwise a plain line every few seconds."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import rich.progress
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

INTERVAL = 5.0  # seconds between two plain lines
_PLAIN_WIDTH = 180  # characters per line of a table in a pipe or file, which have no width


def output_console() -> Console:
    """Create the console of standard output, wide enough for tables if the output is not a terminal.

    Returns:
        The console.
    """
    console = Console()
    return console if console.is_terminal else Console(width=_PLAIN_WIDTH)


class Task:
    """A task in a :class:`ProgressDisplay`.

    Args:
        progress: rich's display.
        description: text of the task.
        total: amount of work; None if it is unknown.
    """

    def __init__(self, progress: Progress, description: str, total: float | None) -> None:
        self._progress = progress
        self._id = progress.add_task(description, total=total)

    def update(
        self, description: str | None = None, completed: float | None = None, total: float | None = None
    ) -> None:
        """Update the display; arguments that are None change nothing.

        Args:
            description: text of the task.
            completed: finished part of ``total``.
            total: amount of work.
        """
        self._progress.update(self._id, description=description, completed=completed, total=total)

    def close(self) -> None:
        """Remove the task from the display."""
        self._progress.remove_task(self._id)


class ProgressDisplay:
    """Shows tasks and prints messages; see :func:`progress_display`.

    Args:
        console: where to show them.
    """

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
        """Show a task until the context ends.

        Args:
            description: text of the task.
            total: amount of work; None if it is unknown.

        Yields:
            The task.
        """
        task = self.open_task(description, total)
        try:
            yield task
        finally:
            task.close()

    def open_task(self, description: str, total: float | None = None) -> Task:
        """Show a task until :meth:`Task.close` is called.

        Args:
            description: text of the task.
            total: amount of work; None if it is unknown.

        Returns:
            The task.
        """
        return Task(self._progress, description, total)

    def print(self, line: str) -> None:
        """Print a permanent line above the bars.

        Args:
            line: the text.
        """
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def status_line(self) -> str:
        """Format the seconds since the start and all tasks.

        Returns:
            One line; empty if there is no task.
        """
        tasks = "; ".join(map(_status, self._progress.tasks))
        return f"[{time.monotonic() - self._started:4.0f} s] {tasks}" if tasks else ""

    @contextlib.contextmanager
    def shown(self, interval: float) -> Iterator[None]:
        """Draw bars, or print the status line regularly, until the context ends.

        Args:
            interval: seconds between two status lines.

        Yields:
            None.
        """
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
    """Show a progress display until the context ends.

    Args:
        console: where to show it.
        interval: seconds between two plain lines if the console is not a terminal.

    Yields:
        The display.
    """
    display = ProgressDisplay(console)
    with display.shown(interval):
        yield display


def _status(task: rich.progress.Task) -> str:
    parts = [] if task.total is None else [f"{task.percentage:.0f} %"]
    if task.time_remaining:
        parts.append(f"{task.time_remaining:.0f} s left")
    return f"{task.description} ({', '.join(parts)})" if parts else task.description
