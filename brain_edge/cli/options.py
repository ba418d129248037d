"""Options and small things that several commands share, so that the same word means the same everywhere."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from brain_edge.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from brain_edge.runtime.options import RuntimeOptions

Decorated = TypeVar("Decorated", bound="Callable[..., Any]")

CACHE_VARIABLE = "BRAIN_EDGE_MODEL_CACHE"


def threads_option(function: Decorated) -> Decorated:
    """`--threads`."""
    return click.option(
        "--threads",
        type=int,
        metavar="N",
        help="Inference threads [default: physical cores within affinity and cgroup quota].",
    )(function)


def quiet_option(function: Decorated) -> Decorated:
    """`--quiet`."""
    return click.option("--quiet", "-q", is_flag=True, help="No progress on stderr; warnings and errors stay.")(
        function
    )


def json_option(function: Decorated) -> Decorated:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")(function)


def runtime_options(threads: int | None, resident_graphs: int = 1) -> RuntimeOptions:
    """Runtime options from the command line and the environment."""
    from brain_edge.runtime.options import RuntimeOptions

    cache = os.environ.get(CACHE_VARIABLE)
    return RuntimeOptions(threads=threads, cache_folder=Path(cache) if cache else None, resident_graphs=resident_graphs)


def reporter(*, quiet: bool) -> Callable[[str], None]:
    """Where lines of progress go: stderr, or nowhere."""
    return (lambda _line: None) if quiet else (lambda line: click.echo(line, err=True))


@contextmanager
def progress(label: str, steps: int, *, quiet: bool) -> Iterator[Callable[[], None] | None]:
    """A progress bar on stderr, on a terminal only; yields what is to be called after each step."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=steps, label=label, file=sys.stderr) as bar:
        yield lambda: bar.update(1)


def find_package(given: str | None) -> Path:
    """The package that was named, or the one in the current folder.

    Raises:
        UsageError: none was named and the current folder is none and does not hold exactly one.
    """
    if given is not None:
        return Path(given)
    here = Path.cwd()
    if (here / "manifest.json").is_file():
        return here
    inside = sorted(path.parent for path in here.glob("*/manifest.json"))
    if len(inside) != 1:
        found = ", ".join(path.name for path in inside) or "none"
        raise UsageError(f"name the package: the current folder should be one or hold exactly one, it holds {found}")
    return inside[0]


@contextmanager
def build_side(feature: str) -> Iterator[None]:
    """Imports of the build side, where a missing library becomes a sentence with the extra that brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        # only a library of the extra is the user's to install; anything else is a bug and keeps its traceback
        if (error.name or "").split(".")[0] not in {"torch", "nncf", "onnx", "safetensors"}:
            raise
        raise MissingExtraError(feature, str(error.name), "convert") from error
