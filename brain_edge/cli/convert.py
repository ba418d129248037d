"""`brain-edge convert`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.cli.building import print_comparisons, quiet_option, reporter
from brain_edge.cli.options import gathered, overwrite_option, require_effect, split_input
from brain_edge.errors import UsageError
from brain_edge.verbs.build_side import build_side

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge_conversion.convert.by_request import ParityData
    from brain_edge_conversion.convert.convert import ConvertOptions
    from brain_edge_conversion.convert.expected import ExpectedData
    from brain_edge_conversion.sources import Request

ALL = "all"
"""Value of `--members` for every member of an ensemble."""


@dataclass(frozen=True)
class Asked:
    """Options that name the model, as typed; `Request` explains each."""

    source: str
    weights: tuple[str, ...]
    spec_file: Path | None
    members: str | None
    flips: bool
    sequences: str | None
    random_weights: bool
    trust: bool

    def request(self, report: Callable[[str], None]) -> Request:
        """Return the request that the typed options describe.

        Raises:
            UsageError: two weights files for one graph, or `--members` is not a number.
        """
        from brain_edge_conversion.recipe import Variant
        from brain_edge_conversion.sources import Request

        weights = {name or "": path for name, path in map(split_input, self.weights)}
        if len(weights) < len(self.weights):
            raise UsageError(f"expected one --weights file per graph, got {', '.join(self.weights)}")
        members = None if self.members == ALL else self.members
        if members is not None and not members.isdecimal():
            raise UsageError(f"expected --members as a number or `{ALL}`, got {members!r}")
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
    """Options of the conversion and of the comparison with PyTorch, as typed."""

    parity_data: tuple[str, ...]
    stage_zero: str | None
    precision: str
    no_rewrites: bool
    account: Path | None
    overwrite: bool

    def data(self, expected: ExpectedData | None) -> ParityData:
        """Return the files and folders of the comparisons by sequence name."""
        from brain_edge_conversion.convert.by_request import ParityData

        shown, zero = (None, None) if self.stage_zero is None else split_input(self.stage_zero)
        files = tuple(map(split_input, self.parity_data))
        return ParityData(files=files, stage_zero=zero, shown=shown, expected=expected)

    def options(self, report: Callable[[str], None]) -> ConvertOptions:
        """Return the options of the conversion."""
        from brain_edge.package import Precision
        from brain_edge_conversion.convert.convert import ConvertOptions

        return ConvertOptions(
            precision=Precision(self.precision),
            rewrites=not self.no_rewrites,
            report=report,
            account=self.account,
            overwrite=self.overwrite,
        )


@dataclass(frozen=True)
class Expected:
    """Options of the comparison with the mask of another program, as typed."""

    expect_mask: Path | None
    expect_head: tuple[str, ...]
    expect_dice: float | None

    def data(self) -> ExpectedData | None:
        """Return the mask and its head by sequence name; None without a mask.

        Raises:
            UsageError: a head or a Dice was given without a mask.
        """
        from brain_edge_conversion.convert.expected import ExpectedData

        if self.expect_mask is None:
            given = {"--expect-head": bool(self.expect_head), "--expect-dice": self.expect_dice is not None}
            require_effect([option for option, is_given in given.items() if is_given], "without --expect-mask")
            return None
        files = tuple(map(split_input, self.expect_head))
        return ExpectedData(mask=self.expect_mask, files=files, minimum_dice=self.expect_dice)


@click.command("convert")
@click.argument("source")
@click.option(
    "--weights",
    "weights",
    multiple=True,
    metavar="[GRAPH=]FILE[#KEY]",
    help="Weights file, with GRAPH= if SOURCE has several networks [SOURCE's own weights].",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="PKG", help="Folder of the package [SOURCE-fp32]."
)
@click.option(
    "--spec",
    "spec_file",
    type=click.Path(path_type=Path),
    metavar="JSON",
    help="File with the model's specification, for a SOURCE without a recipe.",
)
@click.option("--members", metavar="N|all", help="Number of ensemble members to convert [1].")
@click.option("--flips", is_flag=True, help="Average over mirrored inputs, as the published program does.")
@click.option(
    "--sequences",
    metavar="NAME,...",
    help="Sequences of the network, for a recipe that offers several choices, such as T1,FLAIR.",
)
@click.option(
    "--parity-data",
    multiple=True,
    metavar="[SEQUENCE=]FILE",
    help="Image of a head on which to compare the package with PyTorch.",
)
@click.option(
    "--expect-mask",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Mask that your own program makes of a head; a package that makes another one is refused.",
)
@click.option(
    "--expect-head",
    multiple=True,
    metavar="[SEQUENCE=]FILE",
    help="Image of the head of --expect-mask [the head of --parity-data].",
)
@click.option(
    "--expect-dice",
    type=float,
    metavar="DICE",
    help="Minimum Dice of each label, which alone decides [0.97, and refused if other steps make the mask].",
)
@click.option(
    "--precision",
    type=click.Choice(["f32", "bf16"]),
    default="f32",
    show_default=True,
    help="Precision in which the package computes; bf16 where the CPU has it, else f32.",
)
@click.option("--no-rewrites", is_flag=True, help="Do not rewrite the network to make it faster; for comparison.")
@click.option("--random-weights", is_flag=True, help="Use random weights; the package is marked as untrained.")
@click.option(
    "--report",
    "account",
    type=click.Path(path_type=Path),
    metavar="FOLDER|FILE",
    help="Write the rewrites and the difference from PyTorch, even if the conversion is refused.",
)
@click.option(
    "--stage-zero",
    metavar="[SEQUENCE=]PKG",
    help="Package of a skull-stripper that runs first; voxels outside its mask are hidden.",
)
@overwrite_option
@click.option("--trust", is_flag=True, help="Allow the code in SOURCE to run.")
@quiet_option
@gathered("asked", Asked)
@gathered("way", Way)
@gathered("expected", Expected)
def command(asked: Asked, way: Way, expected: Expected, output: Path | None, quiet: bool) -> None:
    """Convert SOURCE to an FP32 package and compare it with PyTorch on a real head.

    SOURCE is a recipe (see `brain-edge recipes`), a file (TorchScript, torch.export or ONNX), a folder (nnU-Net, GaNDLF
    or MONAI bundle), or module:attribute, a Python function or class that builds the network.

    The comparison with PyTorch cannot notice a wrong step, because both sides share the steps. --expect-mask can: it
    compares the package with your own program. If the masks differ, other axes, flips, normalisations and labels are
    tried, and what fits is named.
    """
    report = reporter(quiet=quiet)
    with build_side("convert"):
        from brain_edge_conversion.convert.by_request import convert_request

        package = convert_request(asked.request(report), way.data(expected.data()), output, way.options(report))
    print_comparisons(package)
