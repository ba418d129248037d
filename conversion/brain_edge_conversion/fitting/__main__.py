"""Fit the network of a recipe to its cohort, and write its weights: `python -m brain_edge_conversion.fitting NAME`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.errors import BrainEdgeError
from brain_edge.evaluation.cohort import distinct_cases, load_case, load_cohort, require_cases, study_for
from brain_edge.image.volume import Study
from brain_edge.package.digest import sha256_of
from brain_edge_conversion.fitting.fit import example, fit
from brain_edge_conversion.recipe import Variant
from brain_edge_conversion.recipes import load_recipe
from brain_edge_conversion.weights.shipped import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.evaluation.cohort import Cohort
    from brain_edge.spec import ModelSpec
    from brain_edge_conversion.fitting.fit import Example
    from brain_edge_conversion.weights.lesson import Lesson


@click.command()
@click.argument("name", type=click.Choice(["fit-nnunet", "fit-vox2vox"]))
@click.option("--threads", default=2, show_default=True, help="PyTorch threads.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=FOLDER, help="Folder of the weights.")
def main(name: str, threads: int, output: Path) -> None:
    """Fit the network of the recipe NAME to its cohort; copy the printed SHA-256 into the recipe."""
    import torch
    from safetensors.torch import save_file

    torch.set_num_threads(threads)
    recipe = load_recipe(name)
    module = import_module(f"brain_edge_conversion.recipes.{name.replace('-', '_')}")
    try:
        cases = _examples(load_cohort(recipe.cohort or ""), recipe.variant(Variant()).spec, module.LESSON)
        network = fit(module.network, tuple(cases), module.LESSON, click.echo)
    except BrainEdgeError as error:
        sys.exit(f"error: {error}")
    path = output / f"{name}.safetensors"
    output.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.detach().half().contiguous() for key, tensor in network.state_dict().items()}, path)
    click.echo(f"{path}: {path.stat().st_size} bytes, SHA-256 {sha256_of(path)}")


def _examples(cohort: Cohort, spec: ModelSpec, lesson: Lesson) -> Iterator[Example]:
    """Yield the cases of a cohort that have a reference mask, each once."""
    for case in (each.case for each in distinct_cases(require_cases(cohort.cases(), spec))):
        study, reference = load_case(case)
        given = study_for(study, spec)
        if reference is not None and isinstance(given, Study):
            yield example(given, reference, spec, lesson)


if __name__ == "__main__":
    main()
