"""`python -m hunt COMMAND`, in `tests/`."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from hunt.campaign import PLACE, Campaign, Tally, all_readers, by_hand, make_seeds
from hunt.commands import COMMANDS
from hunt.faults import kept_fault
from hunt.judge import Kind, told
from hunt.kill import kill_once, undisturbed
from hunt.readers import READERS
from hunt.report import MUTANTS, keep_results, results_of
from hunt.starve import SHORTAGES, NotTriedError, starve_once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hunt.kill import Undisturbed

seed_option = click.option("--seed", default=1, show_default=True, help="Of everything that is drawn.")
keep_option = click.option("--keep", is_flag=True, help="Keep the counts in results.jsonl, and write the page.")
faults_option = click.option(
    "--faults", type=click.Path(path_type=Path), default=PLACE / "faults", help="Folder that takes the faults."
)


@click.group(help=__doc__)
def main() -> None:
    """The commands."""


@main.command()
@click.option("--reader", help="One of the readers, or several with commas [all].")
@click.option("--minutes", default=60.0, show_default=True, help="Of all readers together.")
@seed_option
@faults_option
@keep_option
def fuzz(reader: str | None, minutes: float, seed: int, faults: Path, *, keep: bool) -> None:
    """Read mutants of valid files; exit 1 where there is a fault."""
    chosen = all_readers(reader)
    if unknown := set(chosen) - set(READERS):
        raise click.UsageError(f"no reader {', '.join(sorted(unknown))}; there are {', '.join(READERS)}")
    tallies = by_hand(Campaign(PLACE, seed, faults), chosen, minutes)
    _end(MUTANTS, tallies, seed, keep=keep)


@main.command()
@click.option("--command", type=click.Choice(list(COMMANDS)), help="One of the commands [all].")
@click.option("--trials", default=20, show_default=True, help="Of each command.")
@seed_option
@keep_option
def kill(command: str | None, trials: int, seed: int, *, keep: bool) -> None:
    """Kill commands at any moment and start them again."""
    tallies = [_kills(name, trials, seed) for name in ([command] if command else COMMANDS)]
    _end("kill", tallies, seed, keep=keep)


def _kills(name: str, trials: int, seed: int) -> Tally:
    with TemporaryDirectory(prefix="hunt-") as folder:
        whole = undisturbed(COMMANDS[name], Path(folder))
        told(f"{name}: {whole.seconds:.1f} s undisturbed")
        return _tried(name, trials, lambda place, trial: kill_once(name, whole, place, seed, trial), Path(folder))


@main.command()
@click.option("--shortage", type=click.Choice(list(SHORTAGES)), help="One of the shortages [all].")
@click.option("--trials", default=20, show_default=True, help="Of each shortage.")
@seed_option
@keep_option
def starve(shortage: str | None, trials: int, seed: int, *, keep: bool) -> None:
    """Run where something is short."""
    with TemporaryDirectory(prefix="hunt-") as folder:
        whole = undisturbed(COMMANDS["run"], Path(folder))
        names = [shortage] if shortage else list(SHORTAGES)
        tallies = [_shortages(name, trials, seed, whole, Path(folder)) for name in names]
    _end("starve", tallies, seed, keep=keep)


def _shortages(name: str, trials: int, seed: int, whole: Undisturbed, folder: Path) -> Tally:
    count = 1 if SHORTAGES[name].least == SHORTAGES[name].most else trials
    try:
        return _tried(name, count, lambda place, trial: starve_once(name, whole, place, seed, trial), folder)
    except NotTriedError as error:
        told(f"{name}: not tried: {error}")
        return Tally(name)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
def replay(folder: Path) -> None:
    """Try one fault again, from the files that were kept."""
    fault = kept_fault(folder.resolve())
    campaign = Campaign(PLACE, fault.seed, folder.resolve().parent)
    make_seeds(campaign.seeds, [fault.reader])
    with campaign.watch() as watch:
        outcome = watch.try_again(fault.reader, fault.valid, fault.folder / "mutant")
    told("\n".join(filter(None, (f"{outcome.kind}: {outcome.error}: {outcome.words}", outcome.trace))))
    sys.exit(outcome.kind is Kind.FAULT)


def _tried(name: str, trials: int, attempt: Callable[[Path, int], list[str]], folder: Path) -> Tally:
    """Attempts in folders of their own, each removed again; what is wrong is told."""
    begun, faults = time.monotonic(), 0
    for trial in range(trials):
        place = folder / f"{name}-{trial}"
        for wrong in (found := attempt(place, trial)):
            told(f"FAULT {wrong}")
        faults += bool(found)
        shutil.rmtree(place, ignore_errors=True)
    tally = Tally(name, trials, 0, trials - faults, faults, time.monotonic() - begun)
    told(f"{name}: {trials} tried, {faults} faults")
    return tally


def _end(hunt: str, tallies: list[Tally], seed: int, *, keep: bool) -> None:
    count: Mapping[str, int] = {
        "tried": sum(tally.tried for tally in tallies),
        "faults": sum(tally.faults for tally in tallies),
    }
    told("\n".join(("", *(map(str, tallies) if hunt == MUTANTS else ()))))
    told(f"{hunt}: {count['tried']} tried, {count['faults']} faults")
    if keep:
        keep_results(results_of(hunt, tallies, seed))
    sys.exit(bool(count["faults"]))


if __name__ == "__main__":
    main()
