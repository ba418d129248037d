"""Stage 8 of a conversion: the hashes of all files; afterwards every change of the package is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge_conversion.sealing.writer import seal as sealed

if TYPE_CHECKING:
    from brain_edge.package import ModelPackage
    from brain_edge_conversion.convert.draft import Tested


def seal(draft: Tested) -> ModelPackage:
    """Write model card, licence and manifest, with the hash of every file."""
    return sealed(draft.folder, draft.manifest)
