"""Clean environments outside the checkout, and the folders in which their commands run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CONSTRAINTS = CHECKOUT / "constraints.txt"

FOREIGN_VARIABLES = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "BRAIN_EDGE_DATA"}
"""Variables through which the checkout, or its data, could reach the clean environments."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and the folder outside the checkout in which its commands run."""

    folder: Path
    workplace: Path

    def run(self, program: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment to its end, whatever that is."""
        own = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
        return subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=self.workplace,
            env=own | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def succeed(self, program: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program that must end with 0."""
        done = self.run(program, *arguments, **variables)
        assert done.returncode == 0, f"{done.args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def pip_install(self, *arguments: str | Path) -> None:
        """Install with the tested versions; what is imported compiles itself, most of PyTorch never is."""
        self.succeed("python", "-m", "pip", "install", "--quiet", "--no-compile", "-c", CONSTRAINTS, *arguments)

    def distributions(self) -> set[str]:
        """Names of everything installed."""
        listed = json.loads(self.succeed("python", "-m", "pip", "list", "--format", "json").stdout)
        return {entry["name"].lower() for entry in listed}


def clean_environment(place: Path, name: str) -> Environment:
    environment = Environment(folder=place / name, workplace=place / f"{name}-workplace")
    environment.workplace.mkdir()
    subprocess.run([sys.executable, "-m", "venv", environment.folder], check=True)
    return environment
