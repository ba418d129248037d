"""`brain-edge spec new|check|schema`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brain_edge.cli.building import quiet_option, reporter
from brain_edge.cli.failure import say
from brain_edge.cli.options import print_json
from brain_edge.errors import PackageError, UsageError
from brain_edge.verbs.build_side import build_side

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge_conversion.sources import Request

LIKE = ("plain", "nnunet", "monai", "hd-bet")


@click.group("spec")
def command() -> None:
    """Write and check the specification of your own network: the steps around it, as a JSON file."""


def source_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--weights`, `--trust` and `--quiet` to a command that tries a network."""
    weights = click.option(
        "--weights",
        type=click.Path(path_type=Path),
        metavar="FILE[#KEY]",
        help="Weights file, if SOURCE is module:attribute [random weights].",
    )
    trust = click.option("--trust", is_flag=True, help="Allow the code in SOURCE to run.")
    return weights(trust(quiet_option(function)))


@command.command("new")
@click.argument("source")
@click.option(
    "--like",
    type=click.Choice(LIKE),
    default="plain",
    show_default=True,
    help="Program whose steps resemble those of yours.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="JSON", help="File to write [stdout].")
@source_options
def new(source: str, like: str, output: Path | None, **given: Any) -> None:
    """Write a starter for the specification of the network in SOURCE, with remarks.

    Channels, activation and accepted sizes are found by running the network on noise. SOURCE is a file (TorchScript,
    torch.export or ONNX) or module:attribute. Folders of nnU-Net, MONAI and GaNDLF need no specification.
    """
    if output is not None and output.exists():
        raise UsageError(f"{output}: this file already exists; choose another name, or remove the file")
    with build_side("spec new"):
        from brain_edge_conversion.starter.templates import Like
        from brain_edge_conversion.starter.write import write_starter

        text = write_starter(_request(source, **given), Like(like))
    if output is None:
        say(*text.splitlines())
        return
    from brain_edge.machine.atomic import atomic_file

    with atomic_file(output) as partial:
        Path(partial).write_text(text, encoding="utf-8")
    say(f"{output}: a starter; correct it, then run brain-edge spec check {output} {source}")


@command.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("source", required=False)
@source_options
def check(file: Path, source: str | None, **given: Any) -> None:
    """Report all faults of the specification FILE, with lines; with SOURCE, also what its network does not fit.

    Each fault has its line, the allowed words and the word that was probably meant.
    """
    with build_side("spec check"):
        from brain_edge_conversion.starter.check import faults_in

        faults = faults_in(file, None if source is None else _request(source, **given))
    if not faults:
        say(f"{file}: a specification{'' if source is None else f' that fits {source}'}")
        return
    say(*(f"{file}:{fault.line or 1}: {fault.words}" for fault in faults), err=True)
    raise PackageError(f"{file}: expected a specification, got {len(faults)} fault(s); correct the lines above")


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of a specification, for editors that complete and check JSON.

    Write it to a file beside the specification and name it there: "$schema": "spec-schema.json".
    """
    with build_side("spec schema"):
        from brain_edge_conversion.specification import json_schema

        print_json(json_schema())


def _request(source: str, *, weights: Path | None, trust: bool, quiet: bool) -> Request:
    from brain_edge_conversion.sources import Request

    files = {} if weights is None else {"": weights}
    return Request(source=source, weights=files, trust=trust, report=reporter(quiet=quiet))
