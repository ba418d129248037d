"""Licence text that goes with third-party weights: `LICENSE.txt` in the package."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from brain_edge.package.manifest import Licence

TEXTS: Final = ("Apache-2.0", "MIT")
"""SPDX names of the licences whose text is in `licences/`."""


def licence_text(licence: Licence) -> str:
    """Return the full licence of the weights, or a sentence that its text is not available."""
    head = f"The weights in this package: Copyright {licence.holder}. Licence: {licence.name}. {licence.notes}".rstrip()
    if licence.name not in TEXTS:
        return f"{head}\n\nThe text of this licence is not included; ask the holder before you pass the weights on.\n"
    text = (
        resources.files("brain_edge_conversion.sealing")
        .joinpath(f"licences/{licence.name}.txt")
        .read_text(encoding="utf-8")
    )
    return f"{head}\n\n{text}"
