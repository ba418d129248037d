"""`brain-edge cache`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brain_edge.cli.failure import say
from brain_edge.cli.options import CACHE_VARIABLE, cache_option, json_option, print_json
from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from brain_edge.runtime.cache import CacheEntry


@click.group("cache")
def command() -> None:
    """Compiled graphs that `run --cache FOLDER` keeps, so that the next process starts sooner.

    Nothing is kept unless a folder is named, by --cache or in the variable BRAIN_EDGE_MODEL_CACHE. An entry serves
    only for the very same package, program, OpenVINO, CPU and options; a damaged one is built again. Entries hold the
    weights of the network: treat the folder like the package.
    """


@command.command("path")
@cache_option
def path_command(cache: Path | None) -> None:
    """Print the folder."""
    say(str(_folder(cache)))


@command.command("list")
@cache_option
@json_option
def list_command(cache: Path | None, as_json: bool) -> None:
    """What is kept: size, model, graph, input shape, and what it was compiled with."""
    from brain_edge.runtime.cache import entries

    found = list(entries(_folder(cache)))
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
    removed = clear(folder)
    size = sum(entry.size_bytes for entry in removed) / 2**20
    say(f"removed {len(removed)} compiled graph(s), {size:.1f} MiB, from {folder}")


def _folder(given: Path | None) -> Path:
    if given is None:
        raise UsageError(f"no folder for compiled graphs is named; say --cache FOLDER, or set {CACHE_VARIABLE}")
    return given


def _words(entry: CacheEntry) -> str:
    if entry.key is None:
        return f"{entry.path.name}: damaged, will be built again"
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
