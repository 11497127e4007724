"""Reads hostile files in child processes and reports crashes, hangs and exhausted memory as results.

Called as ``python reader.py CASES RESULTS SECONDS MEGABYTES``: CASES is a JSON list of [route, path], SECONDS the CPU
time that a case may use. The results are written to RESULTS as JSON. A forked process reads one file
after another; if it dies, another process continues with the next file.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import sysconfig
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

WATCHED = ("exec", "import", "os.", "subprocess.", "socket.connect", "pty.", "shutil.", "ctypes.", "webbrowser.")
LIBRARIES = tuple({sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")})
HARMLESS = ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "shutil.rmtree")
seen: list[str] = []
watching = False


def watch(event: str, arguments: tuple) -> None:
    if not watching:
        return
    if event == "open":
        path, mode, flags = arguments
        if (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & (os.O_WRONLY | os.O_RDWR):
            seen.append(f"open {path!r} for writing")
    elif event.startswith(WATCHED) and event not in HARMLESS and not _of_the_library(event, arguments):
        seen.append(f"{event} {str(arguments)[:80]}")


def _of_the_library(event: str, arguments: tuple) -> bool:
    """Whether PyTorch or Python's codecs import their own modules, which happens when they are first needed."""
    if event == "import":
        return arguments[0].partition(".")[0] in (
            "encodings",
            "torch",
            "safetensors",
            "mmengine",
            "sympy",
            "mpmath",
            "stringprep",
        )
    code = arguments[0] if event == "exec" else None
    return getattr(code, "co_name", "") == "<module>" and code.co_filename.startswith(LIBRARIES)


def routes() -> dict[str, Callable[[Path], Any]]:
    import torch

    import gfl_plugin
    from gfl_plugin.runtime import config_text
    from gfl_plugin.runtime.publish import publish
    from gfl_plugin.runtime.resume import choose
    from gfl_plugin.runtime.step_record import StepRecord

    def walk(value: Any, depth: int = 6) -> None:
        """Read the memory of every tensor."""
        if isinstance(value, torch.Tensor) and value.numel() < 1 << 20:
            value.detach().clone().to(torch.float64).sum().item()
        elif isinstance(value, Mapping) and depth:
            for part in dict.values(value):
                walk(part, depth - 1)
        elif isinstance(value, (list, tuple)) and depth:
            for part in value[:20]:
                walk(part, depth - 1)

    def read_walk(path: Path) -> None:
        content = gfl_plugin.checkpoints.read(path, "cpu")
        try:
            walk(content)
        except Exception:  # a tensor that cannot be summed; only crashes count
            return

    return {
        "read": lambda path: gfl_plugin.checkpoints.read(path),
        "cpu": lambda path: gfl_plugin.checkpoints.read(path, "cpu"),
        "walk": read_walk,
        "config": gfl_plugin.embedded_config,
        "text": lambda path: config_text.parse(path.read_text("utf-8", "surrogatepass")),
        "publish": lambda path: publish(path, path.parent / "released"),
        "record": StepRecord.load,
        "choose": lambda path: choose(path if path.is_dir() else path.parent),
    }


def outcome(route: Callable, name: str, path: Path) -> str:
    from gfl_plugin.runtime.config_text import ConfigTextError
    from gfl_plugin.runtime.errors import CheckpointError

    global watching
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen.clear()
    watching = name not in ("publish", "config", "text")
    try:
        route(path)
        told = "read"
    except CheckpointError as error:
        told = "line" if str(error).isprintable() else f"lines: {str(error)[:200]!r}"
    except ConfigTextError as error:
        told = "line" if "\n" not in str(error) else f"lines: {str(error)[:200]!r}"
    except FileNotFoundError:
        told = "missing"
    except BaseException as error:
        told = f"{type(error).__name__}: {str(error)[:200]!r}"
    watching = False
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    if seen:
        return f"ran: {seen[:3]}"
    return f"memory: {more} MB, then {told}" if more > 900 else told


def work(cases: list, start: int, megabytes: int, out: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 1 << 21
    limit = pages * resource.getpagesize() + megabytes * (1 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    known = routes()
    for name, path in cases[start:]:
        told = outcome(known[name], name, Path(path))
        os.write(out, (json.dumps(told) + "\n").encode())
        if told.startswith("memory"):
            os._exit(0)
    os._exit(0)


@dataclass(frozen=True)
class Spent:
    """The time that a process has used."""

    cpu: float  # seconds
    clock: float  # seconds since an arbitrary time

    @staticmethod
    def by(process: int) -> Spent:
        times = psutil.Process(process).cpu_times()
        return Spent(times.user + times.system, time.monotonic())

    def exceeds(self, begin: Spent, seconds: float) -> bool:
        """Whether a case has used more CPU time, or has waited for much longer.

        Wall-clock time alone would also depend on other processes of the machine.
        """
        return self.cpu - begin.cpu > seconds or self.clock - begin.clock > 15 * seconds


def main() -> None:
    cases = json.loads(Path(sys.argv[1]).read_text())
    seconds, megabytes = float(sys.argv[3]), int(sys.argv[4])
    warnings.simplefilter("ignore")
    sys.stdout = open(os.devnull, "w")
    import torch
    import torch._subclasses.schema_check_mode  # PyTorch imports it late, and its import calls eval

    torch.set_num_threads(1)
    routes()
    sys.addaudithook(watch)
    results: list[str] = []
    while len(results) < len(cases):
        before = len(results)
        inside, outside = os.pipe()
        child = os.fork()
        if not child:
            work(cases, len(results), megabytes, outside)
        os.close(outside)
        unread, begin = b"", Spent.by(child)
        while True:
            ready, _, _ = select.select([inside], [], [], 0.05)
            if not ready:
                if Spent.by(child).exceeds(begin, seconds):
                    os.kill(child, signal.SIGKILL)
                    break
                continue
            block = os.read(inside, 1 << 16)
            if not block:
                break
            *lines, unread = (unread + block).split(b"\n")
            results += [json.loads(line) for line in lines]
            begin = Spent.by(child)
        _, status = os.waitpid(child, 0)
        os.close(inside)
        if len(results) < len(cases) and os.WIFSIGNALED(status):
            died = os.WTERMSIG(status)
            results.append(f"no end after {seconds} s" if died == signal.SIGKILL else f"crash: signal {died}")
        elif len(results) == before:
            results.append(f"crash: exit status {status}")
        Path(sys.argv[2]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
