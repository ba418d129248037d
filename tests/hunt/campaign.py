"""Mutants of all readers: seeds made once, progress kept, faults kept, counts per reader."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from hunt.faults import keep_fault
from hunt.judge import ROOT, Kind, told
from hunt.readers import READERS
from hunt.watch import Watch, environment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hunt.judge import Outcome

PLACE: Final = ROOT / ".hunt"
CHUNK: Final = 50


@dataclass(frozen=True)
class Tally:
    """How many mutants of a reader were tried, and what became of them; `seconds` is what they took."""

    reader: str
    tried: int = 0
    refused: int = 0
    accepted: int = 0
    faults: int = 0
    seconds: float = 0.0

    def with_outcomes(self, outcomes: Sequence[Outcome], seconds: float) -> Tally:
        """These mutants, too."""
        count = {kind: sum(outcome.kind is kind for outcome in outcomes) for kind in Kind}
        return Tally(
            self.reader,
            self.tried + len(outcomes),
            self.refused + count[Kind.REFUSED],
            self.accepted + count[Kind.ACCEPTED],
            self.faults + count[Kind.FAULT],
            round(self.seconds + seconds, 1),
        )

    def __str__(self) -> str:
        pace = self.tried / self.seconds if self.seconds else 0.0
        return (
            f"{self.reader}: {self.tried} mutants, {self.refused} refused, {self.accepted} accepted, "
            f"{self.faults} faults ({pace:.0f} a second)"
        )


@dataclass(frozen=True)
class Campaign:
    """Where a hunt works and what decides its mutants.

    Attributes:
        place: folder of seeds, progress and faults.
        seed: of all mutants.
        faults: folder of the faults.
    """

    place: Path
    seed: int
    faults: Path

    @property
    def seeds(self) -> Path:
        """Where the valid folders lie."""
        return self.place / "seeds"

    def watch(self) -> Watch:
        """A worker for it."""
        return Watch(self.seeds, self.place / "worker.log")

    def run(self, watch: Watch, tally: Tally, count: int) -> Tally:
        """Try the next `count` mutants of a reader."""
        start, outcomes = time.monotonic(), []
        for outcome in watch.try_mutants(tally.reader, self.seed, tally.tried, tally.tried + count):
            outcomes.append(outcome)
            if outcome.kind is Kind.FAULT:
                fault = keep_fault(self.faults, self.seeds, (tally.reader, READERS[tally.reader]), self.seed, outcome)
                if fault is not None:
                    told(f"FAULT {fault.folder.name}: {fault.error} at {fault.at}: {fault.words[:200]}")
        return tally.with_outcomes(outcomes, time.monotonic() - start)


def make_seeds(place: Path, readers: Sequence[str]) -> None:
    """Make the valid folders of these readers that are not there, in a process of their own."""
    missing = [name for name in readers if not (place / name).is_dir()]
    if missing:
        command = [sys.executable, "-m", "hunt.make_seeds", str(place), *missing]
        subprocess.run(command, check=True, cwd=ROOT / "tests", env=environment(), stdout=subprocess.DEVNULL)


def by_hand(campaign: Campaign, readers: Sequence[str], minutes: float) -> list[Tally]:
    """Go round the readers until the time is over; what was tried of the same code is gone on with."""
    known = _Progress(campaign)
    make_seeds(campaign.seeds, readers)
    tallies = {name: known.read(name) for name in readers}
    share_s, round_s = minutes * 60 / len(readers), min(60.0, minutes * 60 / len(readers))
    end, spent = time.monotonic() + minutes * 60, dict.fromkeys(readers, 0.0)
    with campaign.watch() as watch:
        while time.monotonic() < end and min(spent.values()) < share_s:
            for name in readers:
                until = spent[name] + round_s
                while spent[name] < min(until, share_s) and time.monotonic() < end:
                    start = time.monotonic()
                    tallies[name] = campaign.run(watch, tallies[name], CHUNK)
                    spent[name] += time.monotonic() - start
                    known.write(tallies[name])
                told(str(tallies[name]))
    return list(tallies.values())


class _Progress:
    """How far the mutants of a seed are, for one state of the code; of another state it begins again."""

    def __init__(self, campaign: Campaign) -> None:
        self._folder = campaign.place / f"seed-{campaign.seed}"
        state = _state()
        if not (self._folder / state).is_dir():
            shutil.rmtree(self._folder, ignore_errors=True)
            shutil.rmtree(campaign.seeds, ignore_errors=True)
        self._folder /= state
        self._folder.mkdir(parents=True, exist_ok=True)

    def read(self, reader: str) -> Tally:
        path = self._folder / f"{reader}.json"
        return Tally(**json.loads(path.read_text("utf-8"))) if path.is_file() else Tally(reader)

    def write(self, tally: Tally) -> None:
        (self._folder / f"{tally.reader}.json").write_text(json.dumps(asdict(tally)), encoding="utf-8")


def _state() -> str:
    """A digest of the code that reads and of the code that hunts."""
    digest = hashlib.sha256()
    for folder in ("brain_edge", "conversion", "tests/hunt"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def all_readers(chosen: str | None) -> list[str]:
    """The readers of a comma-separated list, or all."""
    return chosen.split(",") if chosen else list(READERS)
