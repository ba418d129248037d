"""The last stage: the hashes of all files, after which nothing in a package can change unnoticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge_conversion.sealing.writer import seal as sealed

if TYPE_CHECKING:
    from brain_edge.package import ModelPackage
    from brain_edge_conversion.convert.draft import Tested


def seal(draft: Tested) -> ModelPackage:
    """Write model card, licence and manifest, with the hash of every file."""
    return sealed(draft.folder, draft.manifest)
