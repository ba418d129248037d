"""Tests in a process of their own that begins with the heavy libraries imported, and with none of our modules."""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WARM: Final = (
    *("numpy", "scipy.ndimage", "scipy.spatial", "scipy.special", "scipy.stats", "nibabel", "msgspec", "click"),
    *("openvino", "torch", "nncf", "monai.metrics", "pydicom", "matplotlib.pyplot"),
)
STUCK_S: Final = 1800.0
"""After which tests that use no CPU are stopped."""
OPTIONS: Final = ("-x", "-q", "-m", "not full and not wheel", "-p", "no:cacheprovider")


@dataclass(frozen=True)
class Trial:
    """How tests went: `code` is what pytest ends with, None where they were stopped; `seconds` are of the CPU."""

    code: int | None
    failed: str
    seconds: float


def warm_up() -> None:
    """Import what most tests need, once: children then share it."""
    for name in WARM:
        importlib.import_module(name)


def try_tests(root: Path, tests: Sequence[str], limit_s: int) -> Trial:
    """Run the tests of the checkout at `root` until the first failure, in a child of this process.

    Args:
        root: Folder of the checkout; its parent takes what the tests print and write.
        tests: Files or names of tests, relative to `root`.
        limit_s: Seconds of the CPU after which they are stopped, however busy the machine is.
    """
    started, report = time.monotonic(), root.parent / "report.json"
    report.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _become_the_tests(root, tests, report, limit_s)
    ended = (0, 0, resource.getrusage(resource.RUSAGE_SELF))
    try:
        while (ended := os.wait4(child, os.WNOHANG))[0] == 0 and time.monotonic() - started < STUCK_S:
            time.sleep(0.05)
    finally:
        if ended[0] == 0:  # stuck, or interrupted
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(ended[1]) if ended[0] and ended[1] != signal.SIGXCPU else None
    failed = json.loads(report.read_text("utf-8")) if report.exists() else ""
    return Trial(code, failed, ended[2].ru_utime + ended[2].ru_stime)


class _FirstFailure:
    """A plugin that keeps the name of what failed first, and draws the same examples each time, without shrinking."""

    name = ""

    def pytest_configure(self) -> None:
        from hypothesis import Phase, settings

        settings.register_profile("mutants", derandomize=True, deadline=None, phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutants")

    def pytest_runtest_logreport(self, report: Any) -> None:
        self._keep(report)

    def pytest_collectreport(self, report: Any) -> None:
        self._keep(report)

    def _keep(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid


def _become_the_tests(root: Path, tests: Sequence[str], report: Path, limit_s: int) -> None:
    """Never returns: whatever happens in here, the child must not go on as the runner."""
    code = 70
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, resource.RLIM_INFINITY))
        with (root.parent / "output.txt").open("w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.chdir(root)
        sys.path[:0] = ours = [str(root), str(root / "conversion")]
        os.environ.update(PYTHONPATH=os.pathsep.join(ours), PYTHONDONTWRITEBYTECODE="1", BRAIN_EDGE_EXAMPLES="100")
        sys.dont_write_bytecode = True
        first = _FirstFailure()
        arguments = [*OPTIONS, f"--basetemp={root.parent / 'temporary'}", *tests]
        code = int(pytest.main(arguments, plugins=[first]))
        report.write_text(json.dumps(first.name), "utf-8")
    finally:
        if sys.exc_info()[0] is not None:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        os._exit(code)
