"""What a run of a target of the Makefile gave, one line of JSON each, and the page of all runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self
from xml.etree import ElementTree as ET

from benchmarks.harness.matrix_plan import why_isa_not_available
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.machine.description import NATIVE

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = Path(__file__).resolve().parent / "results.jsonl"
PAGE: Final = ROOT / "docs" / "reference" / "test-runs.md"
LIMITS: Final = (NATIVE, "AVX2", "AVX512_CORE")
"""No limit, and values of `ONEDNN_MAX_CPU_ISA`."""
COLUMNS: Final = ("commit", "date", "CPU", "target", "limit", "passed", "failed", "skipped", "minutes")
INTRODUCTION: Final = """# Runs of the tests by hand

`make test-runs` runs `make test` as it is, then under each limit of the instruction set that the CPU can obey
(`ONEDNN_MAX_CPU_ISA` binds the kernels of oneDNN, not those of OpenVINO's plugin). `LIMIT=AVX2` takes one limit,
`TARGET=test-all` runs every test. The checkout must have no changes: a run is kept with its commit, in
`tests/recorded/results.jsonl`, and this page is written from that file."""


@dataclass(frozen=True)
class Run:
    """One run, which ended by itself. A test that failed in its set-up counts as failed."""

    commit: str
    date: str
    machine: str
    target: str
    limit: str
    passed: int
    failed: int
    skipped: int
    minutes: float

    @classmethod
    def of_junit(cls, text: str, **known: str) -> Self:
        """Count the cases of a JUnit report of pytest, which is what `--junitxml` writes."""
        suite = next(ET.fromstring(text).iter("testsuite"))  # noqa: S314 (our own pytest has written it)
        number = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
        failed = number["failures"] + number["errors"]
        return cls(
            **known,
            passed=number["tests"] - failed - number["skipped"],
            failed=failed,
            skipped=number["skipped"],
            minutes=round(float(suite.attrib["time"]) / 60, 1),
        )


def read_runs(path: Path = RESULTS) -> list[Run]:
    """All runs, oldest first."""
    return [Run(**json.loads(line)) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def append_run(run: Run, path: Path = RESULTS) -> None:
    """Add a line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(run)) + "\n")


def limits_of(flags: Sequence[str]) -> list[str]:
    """The limits that a CPU with these flags of `/proc/cpuinfo` can obey."""
    return [limit for limit in LIMITS if not why_isa_not_available(limit, flags)]


def page(runs: Sequence[Run]) -> str:
    """The whole page."""
    rows = [tuple(str(value) for value in asdict(run).values()) for run in reversed(runs)]
    return f"{INTRODUCTION}\n\n{markdown_table(COLUMNS, rows, aligned=False)}\n"
