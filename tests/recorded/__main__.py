"""`python -m recorded`, in `tests/`: run a target of the Makefile under each limit and keep what came of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click

from brain_edge.machine.description import NATIVE, this_machine
from recorded.runs import LIMITS, PAGE, RESULTS, ROOT, Run, append_run, limits_of, page, read_runs


@click.command(help=__doc__)
@click.option("--target", type=click.Choice(["test", "test-all"]), default="test")
@click.option(
    "--limit", "limits", type=click.Choice(LIMITS), multiple=True, help="[default: all that the CPU can obey]"
)
def main(target: str, limits: tuple[str, ...]) -> None:
    """Exit 1 where a test failed."""
    own = [f":!{path.relative_to(ROOT)}" for path in (RESULTS, PAGE)]
    if _git("status", "--porcelain", "--untracked-files=no", "--", ".", *own):
        raise click.UsageError("commit first: a run is kept with its commit, and this checkout has changes")
    machine = this_machine()
    possible = limits_of(machine.flags)
    if impossible := set(limits) - set(possible):
        raise click.UsageError(f"this CPU cannot obey {', '.join(sorted(impossible))}; it can {', '.join(possible)}")
    known = {"commit": _git("rev-parse", "--short", "HEAD"), "machine": machine.name, "target": target}
    runs = [_run(limit, known) for limit in limits or possible]
    sys.exit(any(run.failed for run in runs))


def _run(limit: str, known: dict[str, str]) -> Run:
    environment = {name: value for name, value in os.environ.items() if name != "ONEDNN_MAX_CPU_ISA"}
    if limit != NATIVE:
        environment["ONEDNN_MAX_CPU_ISA"] = limit
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        environment["PYTEST_ADDOPTS"] = f"--junitxml={report}"
        subprocess.run(["make", "-C", str(ROOT), known["target"]], env=environment, check=False)
        if not report.exists():
            raise click.ClickException(f"`make {known['target']}` under the limit {limit} ended without a report")
        run = Run.of_junit(report.read_text("utf-8"), **known, limit=limit, date=f"{datetime.now(UTC):%Y-%m-%d}")
    append_run(run)
    PAGE.write_text(page(read_runs()), encoding="utf-8")
    return run


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
