"""Progress, tables and the machine description of all long commands."""

from __future__ import annotations

import io
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import torch
from rich.console import Console

from gfl_plugin.analysis.machine import Machine, available_cores, this_machine
from gfl_plugin.analysis.progress import INTERVAL, progress_display
from gfl_plugin.analysis.tables import Column, Table, markdown, print_table

ROOT = Path(__file__).resolve().parents[2]
# The imports of the package itself, which take seconds, are skipped.
PROGRAM = """
import sys, time
from importlib.util import find_spec, module_from_spec
sys.modules["gfl_plugin"] = module_from_spec(find_spec("gfl_plugin"))
from gfl_plugin.analysis.progress import output_console, progress_display
with progress_display(output_console(), interval=0.2) as display:
    with display.task("step of a [long] job", total=4) as task:
        for step in range(3):
            task.update(completed=step + 1)
            time.sleep(0.5)
    display.print("done [/]")
"""


def test_a_pipe_gets_lines_while_the_work_is_running() -> None:
    """Lines with the task and its progress are written at the given interval while the program runs."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    first = process.stdout.readline()
    assert process.poll() is None, "the first line arrived after the end of the program"
    lines = [first, *process.stdout]
    assert process.wait() == 0
    assert lines[-1] == "done [/]\n"
    shown = [
        re.fullmatch(r"\[ *\d+ s\] step of a \[long\] job \((\d+) %(?:, \d+ s left)?\)\n", line) for line in lines[:-1]
    ]
    assert len(shown) >= 4 and all(shown)
    parts = [int(line[1]) for line in shown]
    assert parts == sorted(parts) and {25, 75} <= set(parts)


def test_lines_are_written_every_five_seconds() -> None:
    assert INTERVAL == 5.0


def test_nothing_is_printed_between_tasks_and_after_the_end() -> None:
    output = io.StringIO()
    with progress_display(Console(file=output, width=80), interval=0.05) as display:
        time.sleep(0.2)
        assert output.getvalue() == ""
        with display.task("work"):
            time.sleep(0.2)
        before = output.getvalue()
    time.sleep(0.2)
    assert "work" in before and output.getvalue() == before


def test_a_terminal_gets_bars_and_no_lines() -> None:
    output = io.StringIO()
    console = Console(file=output, width=120, force_terminal=True)
    with progress_display(console, interval=0.05) as display, display.task("work", total=2) as task:
        task.update(completed=1)
        time.sleep(0.3)
    assert "━" in output.getvalue() and " s] work" not in output.getvalue()


def test_tables_show_cells_as_they_are() -> None:
    """Neither rich's markup nor Markdown's column mark changes a cell."""
    table = Table((Column("name", numeric=False), Column("AP")), (("[/red] a|b\nc", "1.5"), ("x", "12.5")))
    assert markdown(table) == "| name | AP |\n|---|---|\n| [/red] a\\|b c | 1.5 |\n| x | 12.5 |\n"
    output = io.StringIO()
    print_table(Console(file=output, width=80), table, "[bold] title")
    printed = output.getvalue()
    assert "[bold] title" in printed and "[/red] a|b" in printed
    assert re.search(r"│\s+1\.5 │", printed) and re.search(r"│ x\s+│ 12\.5 │", printed)


def test_the_machine_is_described_in_one_line() -> None:
    machine = Machine("Some CPU", 2, "2.13.0", ("Some GPU",))
    assert str(machine) == "Some CPU, 2 cores, Some GPU, PyTorch 2.13.0"
    here = this_machine()
    assert here.torch == torch.__version__ and here.cores == available_cores() == len(os.sched_getaffinity(0))
    names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    assert here.processor == (names[0].strip() if names else platform.processor() or platform.machine())
