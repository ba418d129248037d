"""The wheel, built once, and the environment that has nothing else: for all tests that install."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from environments import CHECKOUT, Environment, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder outside the checkout, removed at once: pytest would keep gigabytes of the last three runs."""
    with tempfile.TemporaryDirectory(prefix="brain-edge-wheel-") as name:
        folder = Path(name).resolve()
        assert not folder.is_relative_to(CHECKOUT), f"{folder} is inside the checkout: set TMPDIR to another folder"
        yield folder


@pytest.fixture(scope="session")
def wheel(place: Path) -> Path:
    """The wheel, built from the checkout."""
    built = place / "dist"
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", built, CHECKOUT], check=True)
    (only,) = built.glob("*.whl")
    return only


@pytest.fixture(scope="session")
def thin(place: Path, wheel: Path) -> Environment:
    """The wheel alone, as on a workstation."""
    environment = clean_environment(place, "thin")
    environment.pip_install(wheel)
    return environment
