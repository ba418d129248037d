"""Weights files from the user: their graphs, and the comparison with a known hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.errors import UsageError, WeightsError
from brain_edge.machine.nearest import did_you_mean
from brain_edge.package.digest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def require_sha256(path: Path, sha256: str) -> None:
    """Compare a weights file with its known hash.

    Raises:
        WeightsError: the file is missing, or has another hash.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such weights file; check the path")
    actual = sha256_of(path)
    if actual != sha256:
        raise WeightsError(
            f"{path}: expected the weights with SHA-256 {sha256}, got {actual}. The file is damaged or of another "
            "version; fetch it again"
        )


def named_weights(weights: Mapping[str, Path], graphs: Sequence[str]) -> dict[str, Path]:
    """Return the weights by graph; a single file without a name belongs to the only graph.

    Raises:
        UsageError: a name is no graph, or a file has no name and there are several graphs.
    """
    unknown = sorted(set(weights) - set(graphs) - {""})
    if unknown or ("" in weights and len(graphs) > 1):
        named = ", ".join(f"--weights {graph}=FILE" for graph in graphs)
        hint = did_you_mean(unknown[0], graphs) if unknown else ""
        raise UsageError(f"expected {named}, got {', '.join(unknown) or 'a file without a name'}; name each file{hint}")
    return {name or graphs[0]: path for name, path in weights.items()}
