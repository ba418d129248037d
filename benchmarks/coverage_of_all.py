r"""A row of the coverage page for every recipe: convert, quantise for speed, time; recipe after recipe, smallest first.

    python -m benchmarks coverage_of_all --packages packages --compared-on "the whole case TCGA-FG-6692" \
        --data T1=t1.nii.gz --data T1C=t1c.nii.gz --data T2=t2.nii.gz --data FLAIR=flair.nii.gz --data image=head.nii.gz

Stopped and started again it goes on where it was: a recipe that has its record is left out, a package that is there
already is taken. Each step is a process of its own, which gives its memory back, and may take so much of it and no
more: a recipe too large to quantise is recorded without INT8, and the row says so. Weights that the recipe can fetch
are fetched, all others are random.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from benchmarks import program
from benchmarks.harness.coverage_record import FOLDER, read_coverage
from brain_edge_conversion.recipe import Variant
from brain_edge_conversion.recipes import load_recipe, recipe_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brain_edge_conversion.recipe import ModelSource, Recipe

GIB: Final = 2**30
OUT_OF_MEMORY: Final = re.compile(r"MemoryError|bad_alloc|allocate memory|DefaultCPUAllocator|out of memory", re.I)
KILLED: Final = -9
"""What a process returns that the system has killed for memory."""


@dataclass(frozen=True)
class CoverageOptions:
    """How every recipe is measured.

    Attributes:
        packages: folder of the FP32 packages.
        data: image file of each sequence.
        compared_on: what these images are, in words.
        threads, rounds: of the timing.
        memory_gib: that a step may take.
        folder: of the records.
    """

    packages: Path
    data: Mapping[str, Path]
    compared_on: str
    threads: int
    rounds: int
    memory_gib: float
    folder: Path


@dataclass(frozen=True)
class Done:
    """What became of a process: its return code and its messages."""

    code: int
    messages: str

    @property
    def lacked_memory(self) -> bool:
        """Whether that is why it failed."""
        return self.code == KILLED or (self.code != 0 and OUT_OF_MEMORY.search(self.messages) is not None)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--packages", type=click.Path(path_type=Path), required=True, help="Folder of the FP32 packages.")
@click.option("--data", multiple=True, metavar="SEQUENCE=FILE", help="Image to compare with PyTorch on.")
@click.option("--compared-on", default="", help="What these images are, in words.")
@click.option("--threads", default=1, show_default=True, help="Of every engine.")
@click.option("--rounds", default=3, show_default=True, help="In which each engine runs once.")
@click.option("--memory-gib", default=12.0, show_default=True, help="That a step may take.")
@click.option("--again", is_flag=True, help="Also recipes that have a record.")
@click.option("--folder", default=FOLDER, type=click.Path(path_type=Path), help="Of the records.")
def main(names: tuple[str, ...], data: tuple[str, ...], again: bool, **given: object) -> None:
    """Measure the recipes NAMES [all], smallest first."""
    images = {name: Path(path) for name, path in (text.split("=", 1) for text in data)}
    options = CoverageOptions(data=images, **given)  # type: ignore[arg-type]  # click has checked them
    recorded = {} if again else read_coverage(options.folder)
    wanted = [name for name in names or recipe_names() if name not in recorded]
    failed = [name for name in smallest_first(wanted) if not measure(load_recipe(name), options)]
    if failed:
        sys.exit(f"error: without a record: {', '.join(failed)}; the reasons stand above")


def smallest_first(names: Sequence[str]) -> list[str]:
    """By the number of parameters of all networks."""
    sizes = {
        name: sum(
            weights.numel()
            for graph in load_recipe(name).variant(Variant()).graphs
            for weights in graph.build(None).parameters()
        )
        for name in (names if len(names) > 1 else ())
    }
    return sorted(names, key=lambda name: sizes.get(name, 0))


def measure(recipe: Recipe, options: CoverageOptions) -> bool:
    """Convert and record one recipe; whether there is a record now."""
    model = recipe.variant(Variant())
    package = options.packages / recipe.name
    if not package.exists():
        click.echo(f"{recipe.name}: converting", err=True)
        if _limited([*_conversion(recipe, model, options.data), "-o", str(package)], options).code != 0:
            return False
    click.echo(f"{recipe.name}: quantising and timing", err=True)
    row = program("recipe_coverage", package, "--compared-on", compared_on(recipe, model, options))
    row += ["--threads", str(options.threads), "--folder", str(options.folder)]
    done = _limited([*row, "--rounds", str(options.rounds)], options)
    if done.lacked_memory:
        note = f"INT8 was not measured: it takes more than the {options.memory_gib:g} GiB of memory that it was given"
        done = _limited([*row, "--parity-only", "--note", note], options)
    return done.code == 0


def _conversion(recipe: Recipe, model: ModelSource, data: Mapping[str, Path]) -> list[str]:
    command = [sys.executable, "-m", "brain_edge", "convert", recipe.name, "--quiet"]
    if not all(graph.weights is not None and graph.weights.fetchable for graph in model.graphs):
        command.append("--random-weights")
    for name, path in _given(model, data).items():
        command += ["--parity-data", f"{name}={path}"]
    return command


def _given(model: ModelSource, data: Mapping[str, Path]) -> dict[str, Path]:
    """The images of a model's sequences, all of them or none."""
    wanted = [sequence.name for sequence in model.spec.inputs]
    return {name: data[name] for name in wanted} if data.keys() >= set(wanted) else {}


def compared_on(recipe: Recipe, model: ModelSource, options: CoverageOptions) -> str:
    """What parity is checked on, in words."""
    if _given(model, options.data):
        return options.compared_on
    return "a generated head" if recipe.parity_input is None else f"the head of the recipe, {recipe.parity_input}"


def _limited(command: Sequence[str], options: CoverageOptions) -> Done:
    """Run a step in its share of memory, and say its last lines."""
    limit = int(options.memory_gib * GIB)
    restrict = partial(resource.setrlimit, resource.RLIMIT_DATA, (limit, limit))
    done = subprocess.run(command, check=False, capture_output=True, text=True, preexec_fn=restrict)
    messages = done.stdout + done.stderr
    click.echo("\n".join(messages.splitlines()[-3:]), err=True)
    return Done(done.returncode, messages)
