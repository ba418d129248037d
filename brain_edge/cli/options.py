"""Options and helpers that several commands share, so that an option means the same everywhere."""

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

from brain_edge.cli.failure import printable, say
from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

Decorated = TypeVar("Decorated", bound="Callable[..., Any]")

CACHE_VARIABLE = "BRAIN_EDGE_MODEL_CACHE"
NO_CACHE: Final = Path("none")
"""Value of `--cache` that keeps no compiled graphs; a folder of this name is `./none`."""
_FOLDER: Final = click.Path(path_type=Path)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
"""Pattern of the name of a sequence or a graph (`brain_edge.spec.Name`)."""


def gathered(name: str, make: Callable[..., object], *fields: str) -> Callable[[Decorated], Decorated]:
    """Pass several options as one object: the command receives `make(**values)` as its parameter `name`.

    Args:
        name: name of the parameter.
        make: function of the options by name, such as a frozen dataclass with one field for each.
        fields: names of the options; without any, all parameters of `make`.
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
        raise UsageError(f"expected a digest of 64 hex digits, as `brain-edge info` prints it, got {value!r}")
    return value


threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Inference threads [default: physical cores within affinity and cgroup quota].",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
digest_option = click.option(
    "--expect-digest", metavar="SHA256", callback=_whole_digest, help="Refuse a package with another digest."
)
cache_option = click.option(
    "--cache",
    type=_FOLDER,
    envvar=CACHE_VARIABLE,
    metavar="FOLDER",
    help="Folder of compiled graphs for a faster start, or none [default: the cache of the user].",
)
memory_option = click.option(
    "--max-memory",
    metavar="SIZE",
    help="Maximum memory, such as 2G; refused if the model needs more [default: free memory].",
)
stage_zero_option = click.option(
    "--stage-zero",
    type=_FOLDER,
    metavar="PKG",
    help="Skull-stripper (stage 0) that PACKAGE needs [a folder beside PACKAGE].",
)

atlas_option = click.option(
    "--atlas", type=_FOLDER, metavar="FILE", help="Image of the atlas that the preparation names."
)
prepared_option = click.option(
    "--prepared", type=_FOLDER, metavar="FOLDER", help="Keep prepared studies in this folder for the next run."
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace the package PKG if it exists already.")


def preparation_options(function: Decorated) -> Decorated:
    """Add `--atlas`, `--prepared` and `--as-they-are` to a command that runs a package."""
    as_they_are = click.option(
        "--as-they-are", is_flag=True, help="Take the images as they are, without the preparation of the package."
    )
    return atlas_option(prepared_option(as_they_are(function)))


PREPARATION_FIELDS: Final = ("atlas", "prepared", "as_they_are")
"""Fields of `runtime_from` for `preparation_options`."""


def runtime_from(*fields: str, resident_graphs: int = 1) -> Callable[[Decorated], Decorated]:
    """Add the parameter `runtime` to a command: `RuntimeOptions` from its options and the environment.

    Args:
        fields: names of the options that the command has, among those of `_runtime`.
        resident_graphs: number of compiled graphs that stay in memory.
    """
    make = partial(_runtime, resident_graphs=resident_graphs, keeps_graphs="cache" in fields)
    return gathered("runtime", make, *fields)


def _runtime(
    *,
    resident_graphs: int,
    keeps_graphs: bool,
    threads: int | None,
    stage_zero: Path | None = None,
    max_memory: str | None = None,
    cache: Path | None = None,
    atlas: Path | None = None,
    as_they_are: bool = False,
    prepared: Path | None = None,
) -> RuntimeOptions:
    from brain_edge.machine.options import RuntimeOptions, parse_size

    named = cache or named_cache()
    folder = named or (default_cache() if keeps_graphs else NO_CACHE)
    return RuntimeOptions(
        threads=threads,
        cache_folder=None if folder == NO_CACHE else folder,
        cache_is_default=named is None,
        resident_graphs=resident_graphs,
        max_memory_bytes=None if max_memory is None else parse_size(max_memory, "--max-memory"),
        stage_zero=stage_zero,
        atlas=atlas,
        as_they_are=as_they_are,
        prepared=prepared,
    )


def named_cache() -> Path | None:
    """Return the folder of compiled graphs that the environment names, or `NO_CACHE`; None if it names none."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else None


def default_cache() -> Path:
    """Return the folder of compiled graphs of this user, or `NO_CACHE` and a note for an account without a home."""
    from brain_edge.machine.cache_folder import cache_folder

    try:
        return cache_folder("graphs")
    except UsageError as error:
        say(f"note: no compiled graphs are kept: {error}", err=True)
        return NO_CACHE


@dataclass(frozen=True)
class Telling:
    """Output of a command that runs cases.

    Attributes:
        quiet: print no progress and no summary.
        as_json: print the result as JSON on stdout.
    """

    quiet: bool
    as_json: bool

    @property
    def is_silent(self) -> bool:
        """True if only warnings, errors and JSON are printed."""
        return self.quiet or self.as_json


def telling_options(function: Decorated) -> Decorated:
    """Add `--quiet` and `--json` to a command that runs cases, as its parameter `telling`."""
    quiet = click.option(
        "--quiet", "-q", is_flag=True, help="Hide progress and summary; warnings, errors and --json stay."
    )
    return quiet(json_option(gathered("telling", Telling)(function)))


def print_json(value: Any) -> None:
    """Print a result as indented JSON on stdout, with the names and numbers of the structs."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    click.echo(text if _can_be_shown(text) else json.dumps(json.loads(text), indent=2))


def _can_be_shown(text: str) -> bool:
    """Return False if stdout lacks a character of the text (Windows often has 256), or one moves the cursor."""
    if not all(line.isprintable() for line in text.split("\n")):
        return False
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class Progress:
    """Progress bar on a terminal, or nothing.

    Attributes:
        step: function to call after each step.
        clear: function to call before any other output; the next step draws the bar again below that output.
    """

    step: Callable[[], None]
    clear: Callable[[], None]


@contextmanager
def progress(label: str, steps: int, *, quiet: bool) -> Iterator[Progress]:
    """Show a progress bar if stderr is a terminal; a bar in a log would be noise."""
    if quiet or not sys.stderr.isatty():
        yield Progress(step=lambda: None, clear=lambda: None)
        return
    with click.progressbar(length=steps, label=printable(label), file=sys.stderr) as bar:
        yield Progress(step=lambda: bar.update(1), clear=_clear_line)


def _clear_line() -> None:
    # one column less than the terminal has: a full line would scroll on Windows
    blank = " " * (shutil.get_terminal_size().columns - 1)
    click.echo(f"\r{blank}\r", nl=False, err=True)


def split_input(text: str) -> tuple[str | None, Path]:
    """Split `T1=head.nii.gz` into ("T1", path); a plain path, or an existing one with "=", stays whole."""
    name, equals, rest = text.partition("=")
    if equals and _NAME.fullmatch(name) and not Path(text).exists():
        return name, Path(rest)
    return None, Path(text)


def split_name(text: str) -> tuple[str | None, str]:
    """Split `T1=1.2.3` into ("T1", "1.2.3")."""
    name, _, rest = text.rpartition("=")
    return name or None, rest


def require_effect(idle: Sequence[str], where: str) -> None:
    """Refuse options that would do nothing.

    Raises:
        UsageError: there is one; `where` is the reason, such as "with --image".
    """
    if idle:
        has, it = ("has", "it") if len(idle) == 1 else ("have", "them")
        raise UsageError(f"{', '.join(idle)} {has} no effect {where}; remove {it}")


PATH: Final = click.Path(readable=False)
"""Word that a shell completes as a path; whether it can be read is checked where it is read."""
NAMED_PACKAGE: Final = (
    "PACKAGE is a folder, or a name in the current folder, BRAIN_EDGE_PACKAGES or the folder of the user."
)
PACKAGE_HELP: Final = f"{NAMED_PACKAGE} Without PACKAGE, the only package in the first of these is taken."
"""What PACKAGE means in every command, and its default."""


def opened_package(given: str | None, expect_digest: str | None = None) -> ModelPackage:
    """Find, read and check the package of a command; None means the default."""
    from brain_edge.package import open_package
    from brain_edge.package.find import find_package

    return open_package(find_package(given), expect_digest)


def place_of(given: str | None) -> Path:
    """Return the folder of the package of a command, which is not opened yet; None means the default."""
    from brain_edge.package.find import find_package

    return find_package(given)
