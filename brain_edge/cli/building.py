"""Progress lines and evidence of the commands that build, measure or fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brain_edge.cli.failure import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge.cli.options import Decorated
    from brain_edge.package import ModelPackage


def quiet_option(function: Decorated) -> Decorated:
    """Add `--quiet` to a command."""
    return click.option("--quiet", "-q", is_flag=True, help="Hide progress on stderr; warnings and errors stay.")(
        function
    )


def reporter(*, quiet: bool) -> Callable[[str], None]:
    """Return the function that prints a line of progress on stderr; a quiet one prints nothing."""
    return (lambda _line: None) if quiet else (lambda line: say(line, err=True))


def print_comparisons(package: ModelPackage) -> None:
    """Print on stdout how a converted package compares with PyTorch and an expected mask, and where it lies."""
    parity, expected = package.manifest.parity, package.manifest.expected
    if parity is not None:
        for graph in parity.graphs:
            say(
                f"{graph.graph}: OpenVINO differs from PyTorch by {graph.relative_error:.1e} of the largest output, "
                f"same label in {graph.same_label_share:.4%} of the voxels"
            )
        say(f"masks of PyTorch and OpenVINO: {parity.masks_in_words}")
    if expected:
        say(f"expected mask: {expected.in_words}", *(f"  {words}" for words in expected.differences))
    say(f"{package.folder}: digest {package.digest}")


def print_evidence(package: ModelPackage) -> None:
    """Print on stdout how the masks of a cheaper package differ, and where the package lies."""
    from brain_edge.evaluation.evidence import evidence_in

    evidence = evidence_in(package.manifest)
    if evidence is not None:
        for line in (
            *evidence.changes,
            evidence.statement,
            f"within: {evidence.bounds}",
            evidence.next_patient,
            *evidence.warnings,
        ):
            say(line)
        if evidence.operations_baseline and evidence.operations_candidate:
            fewer = evidence.operations_baseline / evidence.operations_candidate
            say(f"{fewer:.1f} times fewer operations (of f32) than {evidence.change.baseline}")
        say(f"{evidence.int8_share:.1%} of the multiply-accumulates run in INT8")
        if evidence.demonstration:
            say("a demonstration: for DICOM results, repeat it with heads of three people (--calibration COHORT)")
    say(f"{package.folder}: digest {package.digest}")
