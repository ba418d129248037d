"""`brain_edge.convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from brain_edge.errors import UsageError
from brain_edge.verbs.build_side import build_side
from brain_edge.verbs.given import chosen, named_files, path_or_none, reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from brain_edge.package import ModelPackage
    from brain_edge.verbs.given import FilePath, NamedFiles
    from brain_edge_conversion.convert.expected import ExpectedData


def convert(
    source: FilePath,
    output: FilePath | None = None,
    *,
    weights: NamedFiles | None = None,
    spec: FilePath | None = None,
    members: int | Literal["all"] | None = None,
    flips: bool = False,
    sequences: Sequence[str] | None = None,
    parity_data: NamedFiles | None = None,
    expect_mask: FilePath | None = None,
    expect_head: NamedFiles | None = None,
    expect_dice: float | None = None,
    precision: str = "f32",
    rewrites: bool = True,
    random_weights: bool = False,
    stage_zero: NamedFiles | None = None,
    trust: bool = False,
    report: FilePath | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ModelPackage:
    """Convert a trained network to an FP32 package and compare it with PyTorch on a real head.

    The same as `brain-edge convert`; it needs the extra `convert`.

    Args:
        source: recipe name, `module:attribute`, or path of a file or folder that holds a network.
        output: folder of the package; `NAME-fp32` in the current folder by default.
        weights: weights file, or one for each graph; the source's own by default.
        spec: JSON file of the specification, for a source that states no steps.
        members: number of members of an ensemble, or `"all"`; the recipe's choice by default.
        flips: average over the mirrorings of the published program.
        sequences: names of the sequences that the network sees, where the recipe offers several sets; the recipe's
            choice by default.
        parity_data: real head to compare on, or one file for each sequence; the recipe's own by default.
        expect_mask: mask that your own program makes of a head; a package that makes another one is refused.
        expect_head: head of `expect_mask`, or one file for each sequence; that of `parity_data` by default.
        expect_dice: minimum Dice of each label, which alone decides; by default 0.97, and a package is refused also if
            other steps make the mask.
        precision: precision that OpenVINO computes in, `"f32"` or `"bf16"`.
        rewrites: exact rewrites of the network before the conversion.
        random_weights: conversion without trained weights; the package is marked.
        stage_zero: folder of the skull-stripper that runs first, or the same by the name of the sequence it sees.
        trust: permission to run a source that is code.
        report: folder, `.json` or `.html` file for the report, which is also written of a refused conversion.
        overwrite: replacement of a package of the same name.
        progress: function that is told each step, in one line.

    Returns:
        The sealed package; it appears whole or not at all.

    Raises:
        UsageError: no such source, an option without effect, or an output that exists already.
        WeightsError: weights that are missing or refused.
        ParityError: OpenVINO does not reproduce PyTorch, or the package does not make the expected mask.
        MissingExtraError: a library of the build side is not installed.

    Examples:
        >>> import brain_edge
        >>> package = brain_edge.convert("deepbet", "deepbet-fp32", progress=print)
        >>> package.digest
    """
    if isinstance(members, str) and members != "all":
        raise UsageError(f"expected members as a number or 'all', got {members!r}")
    tell = reporter(progress)
    with build_side("convert"):
        from brain_edge.package import Precision
        from brain_edge_conversion.convert.by_request import ParityData, convert_request
        from brain_edge_conversion.convert.convert import ConvertOptions
        from brain_edge_conversion.recipe import Variant
        from brain_edge_conversion.sources import Request

        request = Request(
            source=str(source),
            weights={name or "": path for name, path in named_files(weights)},
            spec_file=path_or_none(spec),
            variant=Variant(
                members=None if isinstance(members, str) else members,
                flips=flips,
                sequences=None if sequences is None else tuple(sequences),
            ),
            all_members=members == "all",
            random_weights=random_weights,
            trust=trust,
            report=tell,
        )
        shown, zero = next(iter(named_files(stage_zero)), (None, None))
        options = ConvertOptions(
            precision=chosen(Precision, precision, "precision"),
            rewrites=rewrites,
            report=tell,
            account=path_or_none(report),
            overwrite=overwrite,
        )
        expected = _expected(expect_mask, expect_head, expect_dice)
        data = ParityData(files=named_files(parity_data), stage_zero=zero, shown=shown, expected=expected)
        return convert_request(request, data, None if output is None else Path(output), options)


def _expected(mask: FilePath | None, head: NamedFiles | None, dice: float | None) -> ExpectedData | None:
    """Return the mask of another program and its head; None without a mask."""
    from brain_edge_conversion.convert.expected import ExpectedData

    if mask is None:
        if head is not None or dice is not None:
            raise UsageError("expect_head and expect_dice have no effect without expect_mask; remove them")
        return None
    return ExpectedData(mask=Path(mask), files=named_files(head), minimum_dice=dice)
