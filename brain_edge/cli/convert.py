"""`brain-edge convert`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.cli.building import build_side, quiet_option, reporter
from brain_edge.cli.failure import say
from brain_edge.cli.options import gathered, split_input
from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge_conversion.convert.by_request import ParityData
    from brain_edge_conversion.convert.convert import ConvertOptions
    from brain_edge_conversion.sources import Request

ALL = "all"
"""Of the members of an ensemble."""


@dataclass(frozen=True)
class Asked:
    """The model as it was typed; `Request` says what each is."""

    source: str
    weights: tuple[str, ...]
    spec_file: Path | None
    members: str | None
    flips: bool
    sequences: str | None
    random_weights: bool
    trust: bool

    def request(self, report: Callable[[str], None]) -> Request:
        """What is to be converted.

        Raises:
            UsageError: two weights files for one graph, or members that are no number.
        """
        from brain_edge_conversion.recipe import Variant
        from brain_edge_conversion.sources import Request

        weights = {name or "": path for name, path in map(split_input, self.weights)}
        if len(weights) < len(self.weights):
            raise UsageError(f"two weights files for one graph: {', '.join(self.weights)}")
        members = None if self.members == ALL else self.members
        if members is not None and not members.isdecimal():
            raise UsageError(f"expected a number of members or `{ALL}`, got {members!r}")
        return Request(
            source=self.source,
            weights=weights,
            spec_file=self.spec_file,
            variant=Variant(
                members=None if members is None else int(members),
                flips=self.flips,
                sequences=None if self.sequences is None else tuple(self.sequences.split(",")),
            ),
            all_members=self.members == ALL,
            random_weights=self.random_weights,
            trust=self.trust,
            report=report,
        )


@dataclass(frozen=True)
class Way:
    """How to convert and what to compare on, as it was typed."""

    parity_data: tuple[str, ...]
    stage_zero: str | None
    precision: str
    no_rewrites: bool
    account: Path | None

    def data(self) -> ParityData:
        """Files and folders by the names of sequences."""
        from brain_edge_conversion.convert.by_request import ParityData

        shown, zero = (None, None) if self.stage_zero is None else split_input(self.stage_zero)
        return ParityData(files=tuple(map(split_input, self.parity_data)), stage_zero=zero, shown=shown)

    def options(self, report: Callable[[str], None]) -> ConvertOptions:
        """The rest, with its types."""
        from brain_edge.package import Precision
        from brain_edge_conversion.convert.convert import ConvertOptions

        precision, rewrites = Precision(self.precision), not self.no_rewrites
        return ConvertOptions(precision=precision, rewrites=rewrites, report=report, account=self.account)


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
@click.option(
    "--sequences", metavar="NAME,...", help="Sequences that the network sees, where a recipe has several sets."
)
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
@gathered("asked", Asked)
@gathered("way", Way)
def command(asked: Asked, way: Way, output: Path | None, quiet: bool) -> None:
    """Convert SOURCE to an FP32 package and compare it with PyTorch on a real head.

    SOURCE is a recipe (see `brain-edge recipes`), module:attribute, or a file: TorchScript, torch.export or ONNX.
    """
    report = reporter(quiet=quiet)
    with build_side("convert"):
        from brain_edge_conversion.convert.by_request import convert_request

        package = convert_request(asked.request(report), way.data(), output, way.options(report))
    say(f"{package.folder}: digest {package.digest}")
