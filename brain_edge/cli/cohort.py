"""`brain-edge cohort create|check|fetch|synthesize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.cli.building import quiet_option, reporter
from brain_edge.cli.failure import say
from brain_edge.cli.options import opened_package, require_effect, runtime_from, threads_option
from brain_edge.errors import InputError

if TYPE_CHECKING:
    from brain_edge.evaluation.cohort.generated import Generator
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.spec import ModelSpec


@click.group("cohort")
def command() -> None:
    """Manage cohorts: the images that calibrate and judge a package, with hashes and splits by subject."""


model_option = click.option(
    "--for", "model", metavar="PKG", help="Package for which to select images (create) or to check them (check)."
)


@command.command("create")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="TOML", help="Manifest to write."
)
@click.option("--name", help="Name of the cohort [the folder's name].")
@click.option(
    "--by",
    "grouping",
    type=click.Choice(["image", "visit"]),
    default="image",
    show_default=True,
    help="One case per image, or per visit.",
)
@click.option(
    "--sequence",
    "sequences",
    multiple=True,
    metavar="NAME",
    help="Sequence to use; may be repeated, and the first sets the grid.",
)
@click.option(
    "--mask-pattern",
    metavar="PATTERN",
    help="Name of the masks, with {image} for the name of the image: {image}_brainmask.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the split by subject.")
@click.option("--licence", default="not stated", show_default=True, help="Licence of the images.")
@model_option
@quiet_option
def create(
    folder: Path,
    output: Path,
    name: str | None,
    grouping: str,
    sequences: tuple[str, ...],
    mask_pattern: str | None,
    seed: int,
    licence: str,
    model: str | None,
    quiet: bool,
) -> None:
    """Describe a BIDS data set, or a folder with one subject per sub-folder, as a cohort."""
    from brain_edge.evaluation.cohort import CohortPlan, Grouping, create_cohort

    chosen = CohortPlan(
        name=name or folder.resolve().name,
        grouping=Grouping(grouping),
        sequences=sequences,
        mask_pattern=mask_pattern,
        seed=seed,
        licence=licence,
        spec=_spec(model),
    )
    cohort = create_cohort(folder, output, chosen, reporter(quiet=quiet))
    counts = ", ".join(f"{count} {split}" for split, count in cohort.counts().items())
    masks = sum(case.has_reference for case in cohort.cases())
    say(f"{output}: {counts}; {masks} with a reference mask; SHA-256 {cohort.sha256}")


@command.command("check")
@click.argument("cohort")
@model_option
@quiet_option
def check(cohort: str, model: str | None, quiet: bool) -> None:
    """Check every file of a cohort: hash, contents, grid of the mask."""
    from brain_edge.evaluation.cohort import CheckedCase, RefusedCase, check_cohort, load_cohort

    results = check_cohort(load_cohort(cohort), reporter(quiet=quiet), _spec(model))
    for result in results:
        for flag in result.flags if isinstance(result, CheckedCase) else ():
            say(f"warning: {result.case.title}: {flag.message}", err=True)
    refused = [result for result in results if isinstance(result, RefusedCase)]
    for result in refused:
        say(result.problem, err=True)
    masks = sum(not isinstance(result, RefusedCase) and result.labels is not None for result in results)
    say(f"{len(results) - len(refused)} of {len(results)} cases can be used, {masks} with a reference mask")
    if refused:
        raise InputError(f"{len(refused)} case(s) of the cohort {cohort} cannot be used; see the messages above")


@command.command("fetch")
@click.argument("cohort")
@quiet_option
def fetch(cohort: str, quiet: bool) -> None:
    """Download the files of a cohort from the package registry; no other command downloads a cohort."""
    from brain_edge.evaluation.cohort import fetch_cohort, load_cohort

    paths = fetch_cohort(load_cohort(cohort), reporter(quiet=quiet))
    say(f"{len(paths)} file(s) available")


@command.command("synthesize")
@click.argument("maps", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="Folder to create."
)
@click.option("--per-anatomy", type=int, metavar="N", help="Heads per label map [2; always 1 with --generator].")
@click.option("--merge", is_flag=True, help="Merge all tissues into one label, the brain, in the masks.")
@click.option(
    "--shell-mm", type=float, help="Thickness of the skull and scalp added around MAPS, in mm; 0 for none [12]."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the heads and of the split by label map.")
@click.option(
    "--generator", metavar="PKG", help="Package (recipe spade) that makes the images, instead of random contrasts."
)
@click.option(
    "--like",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="MAP",
    help="Real label map, for comparison by z-score; MAPS that resemble none of these are left out.",
)
@click.option("--allow-untrained", is_flag=True, help="Allow a generator with random weights (its heads are noise).")
@threads_option
@quiet_option
@runtime_from("threads")
def synthesize(
    maps: tuple[Path, ...],
    output: Path,
    per_anatomy: int | None,
    merge: bool,
    shell_mm: float | None,
    seed: int,
    generator: str | None,
    like: tuple[Path, ...],
    allow_untrained: bool,
    runtime: RuntimeOptions,
    quiet: bool,
) -> None:
    """Make SYNTHETIC heads from tissue label maps (MAPS, one per person), for sites that may not share images."""
    from brain_edge.evaluation.cohort.synthetic_cohort import SyntheticPlan, create_synthetic_cohort

    _refuse_idle(
        generator, {"--shell-mm": shell_mm}, {"--allow-untrained": allow_untrained, "--threads": runtime.threads}
    )
    painter = None if generator is None else _generator(generator, runtime)
    usual = SyntheticPlan.per_anatomy if painter is None else 1
    chosen = SyntheticPlan(
        name=output.resolve().name,
        generator=painter,
        allow_untrained=allow_untrained,
        per_anatomy=usual if per_anatomy is None else per_anatomy,
        shell_mm=SyntheticPlan.shell_mm if shell_mm is None else shell_mm,
        merge=merge,
        seed=seed,
        like=like,
    )
    cohort = create_synthetic_cohort(maps, output, chosen, reporter(quiet=quiet))
    counts = ", ".join(f"{count} {split}" for split, count in cohort.counts().items())
    noise = ", NOISE OF RANDOM WEIGHTS" if chosen.is_plumbing else ""
    say(f"{cohort.path}: SYNTHETIC{noise}, {counts}; SHA-256 {cohort.sha256}")


def _spec(package: str | None) -> ModelSpec | None:
    return None if package is None else opened_package(package).spec


def _refuse_idle(generator: str | None, of_drawing: dict[str, object], of_generator: dict[str, object]) -> None:
    """Refuse options without effect: of drawn heads with a generator, or of a generator without one."""
    beside, others = ("with", of_drawing) if generator is not None else ("without", of_generator)
    idle = [name for name, value in others.items() if value is not None and value is not False]
    require_effect(idle, f"{beside} --generator")


def _generator(package: str, runtime: RuntimeOptions) -> Generator:
    from brain_edge.evaluation.cohort.generated import Generator

    return Generator.open(opened_package(package), runtime)
