"""Analyses of the trained detectors of a study, beyond their AP: which there are. A config of the study names one."""

from __future__ import annotations

# Module and function of each analysis, by its name in ablation.analysis. The function is
# ``report(runs: Sequence[FinishedRun], console: Console, display: ProgressDisplay, folder: Path, about: dict[str, str])
# -> list[Path]``: it prints tables, and returns the files that it has written. Modules are imported when they run.
ANALYSES = {
    "class_loss": "gfl_plugin.analysis.class_loss.report_class_loss:report_class_loss",
    "uncertainty": "gfl_plugin.analysis.uncertainty.report:report_uncertainty",
    "recovery": "gfl_plugin.analysis.recovery.report_recovery:report_recovery",
}
