"""`brain-edge cache`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brain_edge.cli.failure import say
from brain_edge.cli.options import CACHE_VARIABLE, NO_CACHE, cache_option, default_cache, json_option, print_json
from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.runtime.cache import CacheEntry


@click.group("cache")
def command() -> None:
    """List or clear the compiled graphs that `run` keeps for a faster start.

    Graphs are kept in the folder that --cache or the variable BRAIN_EDGE_MODEL_CACHE names, by default in the cache of
    the user; the value `none` keeps no graphs. An entry is used only with the same package, program, OpenVINO, CPU and
    options. A damaged entry is built again. Beyond 2 GiB, the oldest entries are removed. Entries contain the weights
    of the network: protect the folder like the package.
    """


@command.command("path")
@cache_option
def path_command(cache: Path | None) -> None:
    """Print the path of the folder."""
    say(str(_folder(cache)))


@command.command("list")
@cache_option
@json_option
def list_command(cache: Path | None, as_json: bool) -> None:
    """List the compiled graphs: size, model, graph, input shape and compile options."""
    from brain_edge.runtime.cache import entries

    found = [] if _is_not_made(cache) else list(entries(_folder(cache)))
    if as_json:
        print_json([_as_json(entry) for entry in found])
        return
    for entry in found:
        say(f"{entry.size_bytes / 2**20:8.1f} MiB  {_words(entry)}")


@command.command("clear")
@cache_option
def clear_command(cache: Path | None) -> None:
    """Remove all compiled graphs from the folder; other files in it stay."""
    from brain_edge.runtime.cache import clear

    folder = _folder(cache)
    removed = [] if _is_not_made(cache) else clear(folder)
    size = sum(entry.size_bytes for entry in removed) / 2**20
    say(f"removed {len(removed)} compiled graph(s), {size:.1f} MiB, from {folder}")


def _folder(given: Path | None) -> Path:
    """Return the folder of compiled graphs that is named, or the default folder.

    Raises:
        UsageError: no compiled graphs are kept.
    """
    folder = given or default_cache()
    if folder == NO_CACHE:
        raise UsageError(f"expected a folder of compiled graphs, got none; give --cache FOLDER or set {CACHE_VARIABLE}")
    return folder


def _is_not_made(given: Path | None) -> bool:
    """Return True if no folder is named and no run has made the default folder yet."""
    return given is None and not _folder(None).exists()


def _words(entry: CacheEntry) -> str:
    if entry.key is None:
        return f"{entry.path.name}: damaged; the next run builds it again"
    key = entry.key
    shape = " x ".join(map(str, key.shape))
    threads, streams = (key.properties.get(name, "?") for name in ("INFERENCE_NUM_THREADS", "NUM_STREAMS"))
    return (
        f"{key.model}: {key.graph} on {shape}, {key.properties.get('INFERENCE_PRECISION_HINT', '?')}, "
        f"{threads} threads, {streams} streams, OpenVINO {key.openvino}, package {key.package_digest[:12]}"
    )


def _as_json(entry: CacheEntry) -> dict[str, object]:
    import msgspec

    about = {} if entry.key is None else msgspec.to_builtins(entry.key)
    return {"file": str(entry.path), "size_bytes": entry.size_bytes, "is_damaged": entry.key is None, **about}
