"""Shows the runs of a study in a progress display."""

from __future__ import annotations

from ..progress import ProgressDisplay, Task
from .plan import Run
from .results import RunResult
from .training_progress import TrainingProgress


class RunDisplay:
    """A :class:`~gfl_plugin.analysis.studies.run_queue.Watcher`: one task for the study, one for each run in training.

    Args:
        display: display for the tasks.
        total: number of runs of the study.
        finished: number of runs that were finished before.
    """

    def __init__(self, display: ProgressDisplay, total: int, finished: int) -> None:
        self._display = display
        self._total, self._finished, self._before = total, finished, finished
        self._parts: dict[str, float] = {}  # per run in training, the finished part from 0 to 1
        self._tasks: dict[str, Task] = {}
        self._study = display.open_task(self._text(), total - finished)

    def started(self, run: Run) -> None:
        """See :class:`~gfl_plugin.analysis.studies.run_queue.Watcher`."""
        self._tasks[run.name] = self._display.open_task(f"{run.name}: starting")
        if not self._display.is_live:
            self._display.print(f"started {run.name}")

    def advanced(self, run: Run, progress: TrainingProgress) -> None:
        """See :class:`~gfl_plugin.analysis.studies.run_queue.Watcher`."""
        text = f"{run.name}: epoch {progress.epoch} of {progress.epochs}"
        self._tasks[run.name].update(text, progress.step, progress.steps)
        self._parts[run.name] = progress.step / progress.steps
        self._update()

    def finished(self, run: Run, result: RunResult) -> None:
        """See :class:`~gfl_plugin.analysis.studies.run_queue.Watcher`."""
        self._end(run)
        if not self._display.is_live:
            validation = f", {_ap(result.validation)} on the validation split" if result.tested else ""
            self._display.print(f"finished {run.name}: AP {_ap(result.metrics)}{validation} ({self._text()})")

    def failed(self, run: Run, message: str) -> None:
        """See :class:`~gfl_plugin.analysis.studies.run_queue.Watcher`."""
        self._end(run)
        self._display.print(f"failed {run.name}: {message}")

    def close(self) -> None:
        """Remove the task of the study, before the runs of another stage are shown."""
        self._study.close()

    def _end(self, run: Run) -> None:
        if run.name in self._tasks:  # else its process could not be started
            self._tasks.pop(run.name).close()
        self._parts.pop(run.name, None)
        self._finished += 1
        self._update()

    def _update(self) -> None:
        self._study.update(self._text(), self._finished - self._before + sum(self._parts.values()))

    def _text(self) -> str:
        return f"{self._finished} of {self._total} runs"


def _ap(metrics: dict[str, float]) -> str:
    """AP in percent; a dash for a split without objects."""
    return f"{metrics['AP']:.1f}" if "AP" in metrics else "–"
