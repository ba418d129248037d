"""What tests share: the folder of real heads, a disk that is nearly full, a user without rights."""

from __future__ import annotations

import gc
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from brain_edge.runtime.library import forbid_telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

NOBODY = 65534

# before torch reads them: PyTorch has one thread, and idle threads sleep, so that the other test process has its core
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# no test reads or writes the compiled graphs of the user who runs it
os.environ["BRAIN_EDGE_MODEL_CACHE"] = "none"
# before a test imports OpenVINO or NNCF by itself: both would send events, which took longer than a small conversion
forbid_telemetry()


COSTLY = (
    *("test_deepbet", "test_hunt", "test_accuracy_search", "test_quantize", "test_convert", "test_cli_dicom"),
    *("test_slurm", "test_dask"),
)
"""Files of a minute or so. They begin first, so that one test process does not wait for the other at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the costly files before the others; xdist hands files out in this order (`--no-loadscope-reorder`)."""
    items.sort(key=lambda item: item.path.stem not in COSTLY)


def pytest_collection_finish() -> None:
    """Keep what was imported and collected out of every later search for garbage: hundreds of MB that stay anyway."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """No test may leave its thread flushing small numbers to zero, as OpenVINO can: later ones would be wrong."""
    if not (np.full(4, 1e-40, np.float32) * np.float32(1)).all():
        pytest.fail(f"{item.nodeid} left this thread with denormal numbers flushed to zero", pytrace=False)


@pytest.fixture(scope="module", autouse=True)
def _own_log_of_looks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The looks of a user who has only run this file: neither the developer's nor those of other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAIN_EDGE_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real heads and weights (BRAIN_EDGE_DATA)."""
    place = os.environ.get("BRAIN_EDGE_DATA")
    if place is None:
        pytest.skip("needs real heads: set BRAIN_EDGE_DATA to their folder")
    folder = Path(place)
    assert folder.is_dir(), f"BRAIN_EDGE_DATA is {place}, which is not a folder"
    return folder


@pytest.fixture(scope="session")
def mri(data_folder: Path) -> Callable[[str], Path]:
    """Path of a real head, by its name under `mri/`; a file that is not there skips the test."""

    def find(name: str) -> Path:
        path = data_folder / "mri" / name
        if not path.exists():
            pytest.skip(f"needs {name}, which BRAIN_EDGE_DATA does not have")
        return path

    return find


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB, which is soon full."""
    with _mounted(tmp_path / "small_disk", "size=64k") as folder:
        yield folder


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that nobody can write to, not even root."""
    with _mounted(tmp_path / "read_only_disk", "ro") as folder:
        yield folder


@pytest.fixture
def without_rights() -> Callable[..., AbstractContextManager[None]]:
    """A context without root's right to ignore permissions; the folders named as arguments belong to its user."""
    return _without_rights


@contextmanager
def _without_rights(*folders: Path | str) -> Iterator[None]:
    if not hasattr(os, "geteuid"):
        pytest.skip("permissions of another system")
    user = os.geteuid()
    if user == 0:
        for folder in folders:
            os.chown(folder, NOBODY, -1)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a disk of its own here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many mutants, kills and shortages the hunt has tried."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    lines = [
        str(value)
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == "hunt"
    ]
    if lines:
        terminalreporter.write_sep("-", "hunt")
        terminalreporter.write_line("\n".join(sorted(lines)))
