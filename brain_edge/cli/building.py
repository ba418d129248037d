"""What commands share that build, measure or fetch: progress in lines, and the extras that they need."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from brain_edge.cli.failure import say
from brain_edge.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from brain_edge.cli.options import Decorated
    from brain_edge.package import ModelPackage

EXTRA_LIBRARIES: Final = frozenset({"torch", "nncf", "onnx", "onnxruntime", "safetensors", "yaml", "unet"})
"""What the extra `convert` installs."""

MONAI_LIBRARIES: Final = frozenset({"monai", "einops"})
"""What the extra `monai` installs beside them."""


def quiet_option(function: Decorated) -> Decorated:
    """`--quiet`."""
    return click.option("--quiet", "-q", is_flag=True, help="No progress on stderr; warnings and errors stay.")(
        function
    )


def reporter(*, quiet: bool) -> Callable[[str], None]:
    """Where lines of progress go: stderr, or nowhere."""
    return (lambda _line: None) if quiet else (lambda line: say(line, err=True))


@contextmanager
def build_side(feature: str) -> Iterator[None]:
    """Everything of the build side, where a missing library becomes a sentence with the extra that brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        # only a library of an extra is the user's to install; anything else is a bug and keeps its traceback
        library = (error.name or "").split(".")[0]
        if library not in EXTRA_LIBRARIES | MONAI_LIBRARIES:
            raise
        extra = "monai" if library in MONAI_LIBRARIES else "convert"
        raise MissingExtraError(feature, library, extra) from error


def print_evidence(package: ModelPackage) -> None:
    """What making a package cheaper did to its masks, and where the package lies, on stdout."""
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
        say(f"{evidence.int8_share:.1%} of the multiply-adds are INT8")
    say(f"{package.folder}: digest {package.digest}")
