"""Options and small things that several commands share, so that the same word means the same everywhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from brain_edge.machine.options import RuntimeOptions

Decorated = TypeVar("Decorated", bound="Callable[..., Any]")

CACHE_VARIABLE = "BRAIN_EDGE_MODEL_CACHE"
_CACHE_HELP: Final = "Keep compiled graphs in this folder, to start sooner the next time."
_FOLDER: Final = click.Path(path_type=Path)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
"""What a sequence or a graph may be called (`brain_edge.spec.Name`)."""


def threads_option(function: Decorated) -> Decorated:
    """`--threads`."""
    return click.option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        help="Inference threads [default: physical cores within affinity and cgroup quota].",
    )(function)


def json_option(function: Decorated) -> Decorated:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")(function)


def digest_option(function: Decorated) -> Decorated:
    """`--expect-digest`."""
    return click.option(
        "--expect-digest", metavar="SHA256", callback=_whole_digest, help="Refuse any other package than this one."
    )(function)


def _whole_digest(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    from brain_edge.package.digest import is_sha256

    if value is not None and not is_sha256(value.lower()):
        raise UsageError(f"expected a whole digest, 64 hex digits as `brain-edge info` prints them, got {value!r}")
    return value


def cache_option(function: Decorated) -> Decorated:
    """`--cache`, where the folder is what the command is about."""
    return click.option("--cache", type=_FOLDER, envvar=CACHE_VARIABLE, metavar="FOLDER", help=_CACHE_HELP)(function)


def machine_options(function: Decorated) -> Decorated:
    """`--max-memory` and `--cache`: what a run may take of this machine. `runtime_options` finds them by itself."""
    memory = click.option(
        "--max-memory",
        metavar="SIZE",
        callback=_remember,
        expose_value=False,
        help="Most memory to take, such as 2G; refused where less would not do [default: what is free].",
    )
    cache = click.option(
        "--cache",
        type=_FOLDER,
        envvar=CACHE_VARIABLE,
        metavar="FOLDER",
        callback=_remember,
        expose_value=False,
        help=_CACHE_HELP,
    )
    return memory(cache(function))


def stage_zero_option(function: Decorated) -> Decorated:
    """`--stage-zero`. `runtime_options` finds it by itself."""
    return click.option(
        "--stage-zero",
        type=_FOLDER,
        metavar="PKG",
        callback=_remember,
        expose_value=False,
        help="The package that PACKAGE names as its stage 0 [a folder beside it].",
    )(function)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    context.meta[f"{__name__}.{parameter.name}"] = value


def _remembered(name: str) -> Any:
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(f"{__name__}.{name}")


def runtime_options(threads: int | None, resident_graphs: int = 1) -> RuntimeOptions:
    """Runtime options from the command line and the environment.

    Raises:
        UsageError: `--max-memory` is no size.
    """
    from brain_edge.machine.options import RuntimeOptions, parse_size

    cache, memory = _remembered("cache") or os.environ.get(CACHE_VARIABLE), _remembered("max_memory")
    return RuntimeOptions(
        threads=threads,
        cache_folder=Path(cache) if cache else None,
        resident_graphs=resident_graphs,
        max_memory_bytes=None if memory is None else parse_size(memory, "--max-memory"),
        stage_zero=_remembered("stage_zero"),
    )


def print_json(value: Any) -> None:
    """A result on stdout, indented, numbers and names as they are in the structs."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    click.echo(text if _can_be_shown(text) else json.dumps(json.loads(text), indent=2))


def _can_be_shown(text: str) -> bool:
    """Whether stdout has all letters; a Windows console or a pipe there often has 256, and JSON has escapes."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class Progress:
    """A bar on a terminal, or nothing.

    Attributes:
        step: to be called after each step.
        clear: to be called before anything else is written; the bar comes back below it with the next step.
    """

    step: Callable[[], None]
    clear: Callable[[], None]


@contextmanager
def progress(label: str, steps: int, *, quiet: bool) -> Iterator[Progress]:
    """A progress bar on stderr where that is a terminal; elsewhere nothing, because a bar in a log is noise."""
    if quiet or not sys.stderr.isatty():
        yield Progress(step=lambda: None, clear=lambda: None)
        return
    with click.progressbar(length=steps, label=label, file=sys.stderr) as bar:
        yield Progress(step=lambda: bar.update(1), clear=_clear_line)


def _clear_line() -> None:
    # one column less than there are: a full line would scroll on Windows
    blank = " " * (shutil.get_terminal_size().columns - 1)
    click.echo(f"\r{blank}\r", nl=False, err=True)


def split_input(text: str) -> tuple[str | None, Path]:
    """`T1=head.nii.gz` -> ("T1", path); a plain path, or one whose name holds "=", stays whole."""
    name, equals, rest = text.partition("=")
    if equals and _NAME.fullmatch(name) and not Path(text).exists():
        return name, Path(rest)
    return None, Path(text)


def split_named(text: str) -> tuple[str | None, str]:
    """`T1=T1w` -> ("T1", "T1w"); without a name it is of the only sequence."""
    name, _, value = text.rpartition("=")
    return name or None, value


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
