"""A recipe without public weights on a whole case, file to file: cold processes in turn, PyTorch and the package.

    python -m benchmarks recipe_case tcup-gan --rounds 3 T1=t1.nii.gz T1C=t1c.nii.gz T2=t2.nii.gz FLAIR=flair.nii.gz

Weights are random and the same on both sides, so the masks can be compared and mean nothing else. PyTorch runs between
the very steps of the package (`--engine pytorch` is that process). Where `published.py` follows the recipe's program,
that runs too and is what the others are compared with:

    python -m benchmarks recipe_case brainmage --rounds 5 --package brainmage-fp32 --int8 brainmage-int8 head.nii.gz

One JSON file is left under `results/`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from benchmarks import program
from benchmarks.harness.peers import WRITTEN_OUT
from brain_edge.cli.options import split_input
from brain_edge.errors import BrainEdgeError
from brain_edge.image.metrics import least_dice
from brain_edge.machine.process import peak_rss_bytes
from brain_edge.package import open_package

if TYPE_CHECKING:
    from benchmarks.harness.measure import Contender
    from brain_edge.package import ModelPackage

MINIMUM_DICE = 0.999


@click.command()
@click.argument("recipe")
@click.argument("inputs", nargs=-1, required=True)
@click.option("--package", type=click.Path(path_type=Path), help="Of this recipe with random weights [converted now].")
@click.option("--int8", type=click.Path(path_type=Path), help="Also this one.")
@click.option("--threads", default=2, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--engine", type=click.Choice(["pytorch"]), help="Be the process of PyTorch.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Mask of that process.")
def main(
    recipe: str,
    inputs: tuple[str, ...],
    package: Path | None,
    int8: Path | None,
    threads: int,
    rounds: int,
    engine: str | None,
    output: Path | None,
) -> None:
    """Compare RECIPE in OpenVINO with PyTorch on INPUTS: NAME=FILE, or one FILE where there is one sequence."""
    if engine is not None and output is not None:
        print(json.dumps(_in_pytorch(recipe, inputs, output, threads)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        given = package or _converted(recipe, inputs, folder / "package")
        ours = _contenders(recipe, inputs, [given, *([int8] if int8 else [])], folder, threads)
        published = _published(recipe, inputs, folder, threads) if recipe in WRITTEN_OUT else []
        _compare(recipe, open_package(given), [*published, *ours], rounds)


def _in_pytorch(recipe: str, inputs: tuple[str, ...], output: Path, threads: int) -> dict[str, object]:
    """Read, segment in PyTorch eager, write."""
    import torch

    from brain_edge.engine.segmenter import Segmenter
    from brain_edge.io.nifti import write_mask
    from brain_edge.jobs.case import assign_inputs, read_study
    from brain_edge_conversion.convert.parity import TorchSession
    from brain_edge_conversion.sources import Request, resolve

    torch.set_num_threads(threads)
    model = resolve(Request(source=recipe, random_weights=True)).model
    study = read_study(assign_inputs([split_input(text) for text in inputs], model.spec))
    sessions = {graph.graph: TorchSession(graph.build(None)) for graph in model.graphs}
    start = time.perf_counter()
    found = Segmenter(model.spec, sessions)(study)
    elapsed_ms = {**found.elapsed_ms, "segment": (time.perf_counter() - start) * 1000}
    write_mask(found.mask, study.volumes[study.reference], output)
    return {"peak_rss_bytes": peak_rss_bytes(), "elapsed_ms": elapsed_ms}


def _converted(recipe: str, inputs: tuple[str, ...], folder: Path) -> Path:
    parity = [option for text in inputs for option in ("--parity-data", text)]
    command = [sys.executable, "-m", "brain_edge", "convert", recipe, "--random-weights", *parity, "-o", str(folder)]
    if subprocess.run(command, check=False).returncode != 0:
        raise BrainEdgeError(f"{recipe} was not converted")
    return folder


def _contenders(
    recipe: str, inputs: tuple[str, ...], packages: list[Path], folder: Path, threads: int
) -> list[Contender]:
    from benchmarks.harness.contenders import environment, package_run
    from benchmarks.harness.measure import Contender

    made = [
        Contender(
            name="PyTorch, our steps",
            command=[
                *program("recipe_case", recipe, *inputs, "--engine", "pytorch"),
                *["-o", str(folder / "pytorch.nii.gz"), "--threads", str(threads)],
            ],
            environment=environment(threads),
            mask=folder / "pytorch.nii.gz",
        )
    ]
    for number, place in enumerate(packages):
        opened = open_package(place)
        mask = folder / f"package-{number}.nii.gz"
        ours = package_run(opened, inputs[0], mask, threads, *inputs[1:], "--allow-untrained")
        made.append(replace(ours, name=f"package, {opened.manifest.number_format.upper()}"))
    return made


def _published(recipe: str, inputs: tuple[str, ...], folder: Path, threads: int) -> list[Contender]:
    """The published program, on a weights file with the very weights that the others have."""
    import torch

    from benchmarks.harness.contenders import published_program
    from benchmarks.harness.peers import prepare_environment
    from brain_edge_conversion.sources import Request, resolve

    (graph,) = resolve(Request(source=recipe, random_weights=True)).model.graphs
    (image,) = (split_input(text)[1] for text in inputs)
    weights = folder / "weights.pt"
    torch.save({"model_state_dict": graph.build(None).state_dict()}, weights)
    python = prepare_environment(lambda line: click.echo(line, err=True))
    return [published_program(python, recipe, image, folder / "published.nii.gz", threads, weights)]


def _compare(recipe: str, package: ModelPackage, contenders: list[Contender], rounds: int) -> None:
    import nibabel

    from benchmarks.harness.in_turn import in_words, take_turns, times_as_fast
    from benchmarks.harness.record import write_record

    started = datetime.now(UTC)
    samples = take_turns(contenders, [rounds] * len(contenders))
    masks = [np.asarray(nibabel.load(contender.mask).dataobj) for contender in contenders]
    dices = [least_dice(masks[0], mask) for mask in masks]
    for contender, dice in zip(contenders, dices, strict=True):
        if not contender.name.endswith("INT8") and dice < MINIMUM_DICE:
            found = f"its mask agrees with that of the {contenders[0].name} at Dice {dice:.5f}"
            raise BrainEdgeError(f"{contender.name}: {found}, expected {MINIMUM_DICE}; nothing is recorded")
    rows = []
    for contender, of_one, dice in zip(contenders, samples, dices, strict=True):
        ratio = times_as_fast(samples[0], of_one)
        rows.append(
            {
                "name": contender.name,
                "precision": contender.precision,
                "package_digest": contender.package_digest,
                "dice_with_first": dice,
                "times_as_fast": ratio,
                "samples": of_one,
            }
        )
        click.echo(f"{contender.name}: {in_words(of_one)}, {ratio}x, Dice with the first {dice:.5f}")
    path = write_record(
        "a recipe on a whole case, random weights",
        f"case-{recipe}",
        started,
        recipe=recipe,
        sequences=[sequence.name for sequence in package.spec.inputs],
        entries=rows,
    )
    click.echo(f"written: {path}", err=True)
