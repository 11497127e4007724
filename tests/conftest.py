"""Configuration of all tests: optional data, selection and order of tests, and figures printed at the end."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import torch
from cases import FIGURES, LARGEST_DIFFERENCES
from hypothesis import HealthCheck, settings
from mmengine.logging import MMLogger
from sizes import SCALE

ROOT = Path(__file__).resolve().parents[1]

# Random cases are the same in each run; `make test-slow` runs GFL_TEST_SCALE times as many.
_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=_CHECKS)
settings.load_profile("suite")

# Folders and files whose tests do not depend on compiled ops, because they use neither MMDetection's NMS nor compiled
# layers. In runtime/, tests of mmcv's gaps or of installing mmcv do; ABOUT_MMCV excludes them.
ONCE = (
    *("analysis/", "assigners/", "attacks/", "coders/", "demo/", "hooks/", "losses/", "quality/", "runtime/"),
    *("detectors/", "export/", "heads/test_ld_head"),
    *("structures/", "ops/test_backend", "ops/test_buffer", "ops/test_numba_kernel", "ops/test_tensor"),
    *("heads/test_compile", "heads/test_no_waiting", "heads/test_prediction_threshold"),
    *("heads/test_gfl_head_mistakes", "e2e/test_demo", "metrics/", "test_documents", "test_site"),
)
ABOUT_MMCV = re.compile(r"compat|install|mmcv")
# The slowest files, slowest first: a process that got one of them last would end long after the others.
LONGEST = (
    "e2e/test_wheel.py",
    "test_documents.py",
    "e2e/test_workers.py",
    "e2e/test_scripts.py",
    "projects/test_swap_head.py",
    "e2e/test_run.py",
    "mmdet_world/test_log_lines.py",
    "mmdet_world/test_tools.py",
    "analysis/report/test_page_in_browser.py",
    "analysis/report/test_page.py",
    "analysis/test_studies.py",
    "analysis/test_hostile_annotations.py",
    "runtime/test_untrusted_files.py",
    "e2e/test_exact_resume.py",
    "e2e/test_soak.py",
    "heads/test_fuzz.py",
    "losses/test_fork.py",
)
# Reasons for which a test may be skipped anywhere. With --fail-on-skip any other is a failure.
MAY_BE_SKIPPED = (
    "needs a GPU",
    "DeepSpeed is not installed",
    "Triton is not installed",
    "Chromium is not installed",
    "TensorBoard is not installed",
    "mmcv has no compiled ops here",  # such tests run in the other environment
    "mmcv has compiled ops here",  # such tests run in the other environment
    "names its base itself",
    "NumPy 2 has introduced the name",
    "this plan cannot be trained",  # an invalid random plan
    "file systems can be mounted by root only",
)

if "PYTEST_XDIST_WORKER" in os.environ:  # one thread per process; more would exceed the number of cores
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def gfl_data() -> Path:
    """The folder of real data that GFL_DATA names."""
    folder = os.environ.get("GFL_DATA")
    if not folder:
        pytest.skip("GFL_DATA names no folder with bccd/ and coco_val_boxes.json")
    return Path(folder)


@pytest.fixture
def two_threads() -> Generator[None]:
    """Let PyTorch use two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _no_closed_streams() -> None:
    """Loggers of MMEngine do not write to the captured streams of earlier tests, which are closed."""
    for logger in MMLogger._instance_dict.values():
        for handler in list(logger.handlers):
            if getattr(getattr(handler, "stream", None), "closed", False):
                logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="fail skipped tests, except for known reasons")


def _place(item: pytest.Item) -> str:
    """A test's file, relative to tests/."""
    return item.path.relative_to(ROOT / "tests").as_posix()


def _multiply_random_cases(tests: set[Callable]) -> None:
    """Multiply the number of cases of Hypothesis tests by GFL_TEST_SCALE."""
    for test in tests:
        own = test._hypothesis_internal_use_settings  # Hypothesis's own plugin uses it, too
        test._hypothesis_internal_use_settings = settings(own, max_examples=own.max_examples * SCALE)


@pytest.hookimpl(tryfirst=True)  # before tests are selected by their markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    random = [item for item in items if getattr(item.obj, "is_hypothesis_test", False)]
    for item in random:
        item.add_marker(pytest.mark.scaled)
    if SCALE > 1:
        _multiply_random_cases({item.obj for item in random})
    for item in items:
        place = _place(item)
        if place.startswith(ONCE) and not ABOUT_MMCV.search(place):
            item.add_marker(pytest.mark.once)
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(_place(item), len(order)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Processes of ``-n auto``: the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fail_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Report a skip as failed, except for known reasons."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not re.search("|".join(map(re.escape, MAY_BE_SKIPPED)), reason):
            report.outcome, report.longrepr = "failed", f"skipped, which --fail-on-skip does not allow: {reason}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.CallInfo, None]:
    outcome = yield
    if item.config.getoption("--fail-on-skip"):
        _fail_skip(outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, None]:
    """The same for files that are skipped as a whole."""
    outcome = yield
    if collector.config.getoption("--fail-on-skip"):
        _fail_skip(outcome.get_result())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Pass the figures of this process to the process that prints them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = (dict(LARGEST_DIFFERENCES), dict(FIGURES))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Receive the figures of another process."""
    differences, figures = getattr(node, "workeroutput", {}).get("figures", ({}, {}))
    for name, value in differences.items():
        LARGEST_DIFFERENCES[name] = max(LARGEST_DIFFERENCES.get(name, 0.0), value)
    FIGURES.update(figures)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the largest differences to MMDetection, and other measured figures."""
    if LARGEST_DIFFERENCES:
        terminalreporter.section("largest differences to MMDetection")
        for name, value in sorted(LARGEST_DIFFERENCES.items()):
            terminalreporter.write_line(f"{name}: {value:.2e}")
    if FIGURES:
        terminalreporter.section("measured")
        for name, value in FIGURES.items():
            terminalreporter.write_line(f"{name}: {value}")
