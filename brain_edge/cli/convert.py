"""`brain-edge convert`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.cli.building import build_side, quiet_option, reporter
from brain_edge.cli.options import split_input
from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from brain_edge.image.volume import Study
    from brain_edge.package import ModelPackage
    from brain_edge.spec import ModelSpec
    from brain_edge_conversion.recipe import Recipe
    from brain_edge_conversion.sources import Resolved


@click.command("convert")
@click.argument("source")
@click.option(
    "--weights", "weights", multiple=True, metavar="[GRAPH=]FILE", help="Weights file; SOURCE's own otherwise."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="PKG", help="Folder of the package [SOURCE-fp32]."
)
@click.option(
    "--spec", "spec_file", type=click.Path(path_type=Path), metavar="JSON", help="ModelSpec, where SOURCE is no recipe."
)
@click.option("--members", metavar="N|all", help="Members of an ensemble [1].")
@click.option("--flips", is_flag=True, help="Average over the mirrorings of the published program.")
@click.option("--parity-data", multiple=True, metavar="[SEQUENCE=]FILE", help="Real head to compare with PyTorch on.")
@click.option("--precision", type=click.Choice(["f32", "bf16"]), default="f32", show_default=True, help="To run in.")
@click.option("--no-rewrites", is_flag=True, help="Convert the network as it is, for comparison.")
@click.option("--random-weights", is_flag=True, help="Without trained weights; the package is marked.")
@click.option(
    "--report",
    "account",
    type=click.Path(path_type=Path),
    metavar="FOLDER|FILE",
    help="Write what was rewritten and how far it is from PyTorch; also of a conversion that is refused.",
)
@click.option(
    "--stage-zero", metavar="[SEQUENCE=]PKG", help="A skull-stripper: run it first, see nothing outside of its mask."
)
@click.option("--trust", is_flag=True, help="SOURCE is code; run it.")
@quiet_option
def command(
    source: str,
    weights: tuple[str, ...],
    output: Path | None,
    spec_file: Path | None,
    members: str | None,
    flips: bool,
    parity_data: tuple[str, ...],
    precision: str,
    no_rewrites: bool,
    random_weights: bool,
    account: Path | None,
    stage_zero: str | None,
    trust: bool,
    quiet: bool,
) -> None:
    """Convert SOURCE to an FP32 package and compare it with PyTorch on a real head.

    SOURCE is a recipe (see `brain-edge recipes`), module:attribute, or a file: TorchScript, torch.export or ONNX.
    """
    with build_side("convert"):
        from brain_edge_conversion.convert.convert import ConvertOptions, convert
        from brain_edge_conversion.convert.report import require_report_place
        from brain_edge_conversion.convert.stage_zero import name_stage_zero
        from brain_edge_conversion.recipe import Variant
        from brain_edge_conversion.recipes import load_recipe, recipe_names
        from brain_edge_conversion.sources import Request, kind_of, resolve
    from brain_edge.engine.segmenter import Segmenter
    from brain_edge.engine.stage_zero import BrainMasker
    from brain_edge.package import Precision

    report = reporter(quiet=quiet)
    given = {
        "--spec": spec_file,
        "--members": members,
        "--flips": flips,
        "--weights": weights,
        "--random-weights": random_weights,
        "--trust": trust,
    }
    for option, reason in kind_of(source).idle.items():
        _refuse_idle(f"{source} {reason}", {option: given[option]})
    if account is not None:
        require_report_place(account)
    if random_weights:
        _refuse_idle("there is --random-weights", {"--weights": weights})
    most = load_recipe(source).members if source in recipe_names() else None
    request = Request(
        source=source,
        weights=_weights(weights),
        spec_file=spec_file,
        variant=Variant(members=_members(members, most), flips=flips),
        random_weights=random_weights,
        trust=trust,
        report=report,
    )
    options = ConvertOptions(precision=Precision(precision), rewrites=not no_rewrites, report=report, account=account)
    zero = None if stage_zero is None else _opened_stage_zero(stage_zero)
    with build_side("convert"):
        resolved = resolve(request)
        target = output or Path(f"{resolved.model.spec.name}-fp32")
        study = _stand_in(resolved, report) if random_weights and not parity_data else None
        study = study or _parity_study(parity_data, resolved.model.spec, resolved.recipe, report)
        if zero is not None:
            sequence, first = zero
            named = name_stage_zero(first, sequence, resolved.model.spec)
            study, _ = BrainMasker(Segmenter.open(first), named.sequence)(study)
            options = replace(options, stage_zero=named)
        package = convert(resolved.model, resolved.weights, study, target, options)
    click.echo(f"{target}: digest {package.digest}")


def _opened_stage_zero(text: str) -> tuple[str | None, ModelPackage]:
    """`T1=PKG`: the sequence that it is shown, where it is named, and the package."""
    from brain_edge.package import open_package

    sequence, folder = split_input(text)
    return sequence, open_package(folder)


def _refuse_idle(reason: str, options: Mapping[str, object]) -> None:
    """An option that would do nothing was given for something: say so instead."""
    idle = [name for name, value in options.items() if value]
    if idle:
        raise UsageError(f"{reason}: {', '.join(idle)} would do nothing; leave it out")


def _weights(given: tuple[str, ...]) -> dict[str, Path]:
    """Weights file per graph; the name is empty where none was given."""
    pairs = [split_input(text) for text in given]
    if len({name for name, _ in pairs}) < len(pairs):
        raise UsageError(f"two weights files for one graph: {', '.join(given)}")
    return {name or "": path for name, path in pairs}


def _members(text: str | None, most: int | None) -> int | None:
    """How many; None leaves it to the source, whose folds are all taken."""
    if text is None or text == "all":
        return most if text else None
    if not text.isdecimal():
        raise UsageError(f"expected a number of members or `all`, got {text!r}")
    return int(text)


def _stand_in(resolved: Resolved, report: Callable[[str], None]) -> Study | None:
    """The phantom that random weights are compared on, where the recipe names one."""
    from brain_edge.engine.phantom_study import stand_in

    phantom = None if resolved.recipe is None else resolved.recipe.parity_phantom
    if phantom is None:
        return None
    report("random weights: compared on a generated phantom; for a real head give --parity-data")
    return stand_in(phantom, resolved.model.spec)


def _parity_study(
    given: tuple[str, ...], spec: ModelSpec, recipe: Recipe | None, report: Callable[[str], None]
) -> Study:
    from brain_edge.deploy.fetch import fetch
    from brain_edge.jobs.case import assign_inputs, read_study

    if given:
        return read_study(assign_inputs(map(split_input, given), spec))
    if recipe is None or recipe.parity_input is None:
        raise UsageError(f"{spec.name}: give a real head to compare with PyTorch on: --parity-data FILE")
    return read_study({spec.inputs[0].name: fetch(recipe.parity_input, report=report)})
