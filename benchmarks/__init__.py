"""What this project measures of itself, and the report of it; `python -m benchmarks` lists the programs."""

import sys
from pathlib import Path
from typing import Final

BENCHMARKS: Final = Path(__file__).resolve().parent


def program(name: str, *arguments: object) -> list[str]:
    """The command line of one of the programs, as a process of its own."""
    return [sys.executable, "-m", "benchmarks", name, *map(str, arguments)]
