"""One mutant after the other, in a copy of the checkout."""

from __future__ import annotations

import compileall
import datetime as dt
import hashlib
import json
import os
import py_compile
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mutants.results import Outcome, Result, append_result
from mutants.table import ROOT, Mutant
from mutants.trial import Trial, try_tests

if TYPE_CHECKING:
    from collections.abc import Callable

PLACE: Final = ROOT / ".mutants"
WORK: Final = PLACE / str(os.getpid())
COPY: Final = WORK / "checkout"
LIMIT_S: Final = 900
NO_TESTS: Final = 5


class UncleanError(Exception):
    """A test that fails without any mutant proves nothing about one."""


def copy_checkout() -> None:
    """Copy what git knows, as it stands; compiled by content, as a mutant may be as long as what it replaces."""
    names = _git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in names:
        if (ROOT / name).is_file() and not name.startswith(("benchmarks/results/", "docs/")):
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)
    for package in ("brain_edge", "conversion", "tests"):
        mode = py_compile.PycInvalidationMode.CHECKED_HASH
        compileall.compile_dir(COPY / package, quiet=1, invalidation_mode=mode)


def remove_copy() -> None:
    """Remove the copy, and what tests have left in it."""
    shutil.rmtree(WORK, ignore_errors=True)


def try_mutant(mutant: Mutant, machine: str, say: Callable[[str], None]) -> Result:
    """Put the fault in, run its tests, take it out, and write down what happened.

    Raises:
        StaleError: The mutant no longer fits the code.
        UncleanError: Its tests fail, or are none, without it.
    """
    clean_s = sum(_clean_seconds(test, say) for test in mutant.tests)
    path = COPY / mutant.file
    text = path.read_text("utf-8")
    digest = mutant.digest_in(COPY)
    path.write_text(mutant.apply(text), "utf-8")
    try:
        trial = try_tests(COPY, mutant.tests, 30 + round(5 * clean_s))
    finally:
        path.write_text(text, "utf-8")
    commit = _git("rev-parse", "--short", "HEAD").strip()
    today = dt.datetime.now(dt.UTC).date().isoformat()
    result = Result(mutant.id, _outcome(trial), trial.failed, mutant.digest, digest, commit, today, machine)
    append_result(result)
    say(f"{mutant.id}: {result.outcome} {result.by} ({trial.seconds:.0f} s)")
    return result


def _outcome(trial: Trial) -> Outcome:
    if trial.code is None:
        return Outcome.TIMEOUT
    if trial.code > 0 and not trial.failed:
        raise UncleanError(f"the tests end with {trial.code} and no test has failed: see {WORK / 'output.txt'}")
    return Outcome.SURVIVED if trial.code == 0 else Outcome.KILLED


def _clean_seconds(test: str, say: Callable[[str], None]) -> float:
    """CPU time of these tests without a mutant; they are run once per state of the code and of themselves."""
    known_at = PLACE / "clean.json"
    known: dict[str, float] = json.loads(known_at.read_text("utf-8")) if known_at.exists() else {}
    key = f"{test} {_state(test)}"
    if key not in known:
        trial = try_tests(COPY, [test], LIMIT_S)
        if trial.code != 0:
            why = {None: "does not end", NO_TESTS: "holds no test"}.get(trial.code, f"fails: {trial.failed}")
            raise UncleanError(f"{test} {why} without any mutant: see {WORK / 'output.txt'}")
        known[key] = round(trial.seconds, 1)
        known_at.write_text(json.dumps(known, indent=0), "utf-8")
        say(f"{test}: passes without a mutant ({trial.seconds:.0f} s)")
    return known[key]


def _state(test: str) -> str:
    """A digest of the test's file and of all code below the two packages."""
    here = Path(test.partition("::")[0])
    sources = sorted([*(COPY / "brain_edge").rglob("*.py"), *(COPY / "conversion").rglob("*.py"), COPY / here])
    digest = hashlib.sha256()
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout
