"""Weights files that the user names: which belongs to which graph, and whether it is the one that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.errors import UsageError, WeightsError
from brain_edge.package.digest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def require_sha256(path: Path, sha256: str) -> None:
    """Compare a weights file with the hash that is known of it.

    Raises:
        WeightsError: it is missing or another file.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such weights file")
    actual = sha256_of(path)
    if actual != sha256:
        raise WeightsError(
            f"{path}: expected the weights with SHA-256 {sha256}, this file has {actual}; "
            "it is another version or damaged, fetch it again"
        )


def named_weights(weights: Mapping[str, Path], graphs: Sequence[str]) -> dict[str, Path]:
    """Weights by graph; a single file without a name belongs to the only graph.

    Raises:
        UsageError: a name is no graph, or a file has none where there are several graphs.
    """
    unknown = sorted(set(weights) - set(graphs) - {""})
    if unknown or ("" in weights and len(graphs) > 1):
        named = ", ".join(f"--weights {graph}=FILE" for graph in graphs)
        raise UsageError(f"name each weights file: {named}; got {', '.join(unknown) or 'a file without a name'}")
    return {name or graphs[0]: path for name, path in weights.items()}
