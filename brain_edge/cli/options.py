"""Options and small things that several commands share, so that the same word means the same everywhere."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from brain_edge.machine.options import RuntimeOptions

Decorated = TypeVar("Decorated", bound="Callable[..., Any]")

CACHE_VARIABLE = "BRAIN_EDGE_MODEL_CACHE"
_FOLDER: Final = click.Path(path_type=Path)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
"""What a sequence or a graph may be called (`brain_edge.spec.Name`)."""


def gathered(name: str, make: Callable[..., object], *fields: str) -> Callable[[Decorated], Decorated]:
    """Options that travel as one object: the command is given `make(**values)` as its parameter `name`.

    Args:
        name: of the parameter.
        make: takes the options by name, such as a frozen dataclass with one field for each.
        fields: names of the options; all parameters of `make` unless given.
    """
    taken = fields or tuple(inspect.signature(make).parameters)

    def decorate(function: Decorated) -> Decorated:
        @wraps(function)
        def command(**values: Any) -> Any:
            values[name] = make(**{field: values.pop(field) for field in taken})
            return function(**values)

        return cast("Decorated", command)

    return decorate


def _whole_digest(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    from brain_edge.package.digest import is_sha256

    if value is not None and not is_sha256(value.lower()):
        raise UsageError(f"expected a whole digest, 64 hex digits as `brain-edge info` prints them, got {value!r}")
    return value


threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Inference threads [default: physical cores within affinity and cgroup quota].",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
digest_option = click.option(
    "--expect-digest", metavar="SHA256", callback=_whole_digest, help="Refuse any other package than this one."
)
cache_option = click.option(
    "--cache",
    type=_FOLDER,
    envvar=CACHE_VARIABLE,
    metavar="FOLDER",
    help="Keep compiled graphs in this folder, to start sooner the next time.",
)
memory_option = click.option(
    "--max-memory",
    metavar="SIZE",
    help="Most memory to take, such as 2G; refused where less would not do [default: what is free].",
)
stage_zero_option = click.option(
    "--stage-zero",
    type=_FOLDER,
    metavar="PKG",
    help="The package that PACKAGE names as its stage 0 [a folder beside it].",
)


def runtime_from(*fields: str, resident_graphs: int = 1) -> Callable[[Decorated], Decorated]:
    """The parameter `runtime` of a command: `RuntimeOptions` from its options and the environment.

    Args:
        fields: which of `threads`, `stage_zero`, `max_memory` and `cache` the command has.
        resident_graphs: compiled graphs that stay in memory.
    """
    return gathered("runtime", partial(_runtime, resident_graphs=resident_graphs), *fields)


def _runtime(
    *,
    resident_graphs: int,
    threads: int | None,
    stage_zero: Path | None = None,
    max_memory: str | None = None,
    cache: Path | None = None,
) -> RuntimeOptions:
    from brain_edge.machine.options import RuntimeOptions, parse_size

    return RuntimeOptions(
        threads=threads,
        cache_folder=cache or (Path(environ) if (environ := os.environ.get(CACHE_VARIABLE)) else None),
        resident_graphs=resident_graphs,
        max_memory_bytes=None if max_memory is None else parse_size(max_memory, "--max-memory"),
        stage_zero=stage_zero,
    )


@dataclass(frozen=True)
class Telling:
    """What a command that runs cases tells.

    Attributes:
        quiet: no progress and no summary.
        as_json: the result as JSON on stdout.
    """

    quiet: bool
    as_json: bool

    @property
    def is_silent(self) -> bool:
        """Whether nothing but warnings, errors and JSON is told."""
        return self.quiet or self.as_json


def telling_options(function: Decorated) -> Decorated:
    """`--quiet` and `--json` of a command that runs cases: its parameter `telling`."""
    quiet = click.option(
        "--quiet", "-q", is_flag=True, help="No progress, no summary; warnings, errors and --json stay."
    )
    return quiet(json_option(gathered("telling", Telling)(function)))


def print_json(value: Any) -> None:
    """A result on stdout, indented, numbers and names as they are in the structs."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    click.echo(text if _can_be_shown(text) else json.dumps(json.loads(text), indent=2))


def _can_be_shown(text: str) -> bool:
    """Whether stdout has all signs, of which Windows often has 256, and none moves its cursor; JSON has escapes."""
    if not all(line.isprintable() for line in text.split("\n")):
        return False
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


def split_name(text: str) -> tuple[str | None, str]:
    """`T1=1.2.3` -> ("T1", "1.2.3")."""
    name, _, rest = text.rpartition("=")
    return name or None, rest


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
