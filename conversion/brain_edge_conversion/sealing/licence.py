"""The licence text that travels with other people's weights: `LICENSE.txt` in the package."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from brain_edge.package.manifest import Licence

TEXTS: Final = ("Apache-2.0", "MIT")
"""SPDX names of the licences whose text is at hand, in `licences/`."""


def licence_text(licence: Licence) -> str:
    """The licence of the weights in full, or the sentence that its text is not at hand."""
    head = f"The weights in this package: Copyright {licence.holder}. Licence: {licence.name}. {licence.notes}".rstrip()
    if licence.name not in TEXTS:
        return f"{head}\n\nThe text of this licence is not at hand here; ask the holder before you pass them on.\n"
    text = (
        resources.files("brain_edge_conversion.sealing")
        .joinpath(f"licences/{licence.name}.txt")
        .read_text(encoding="utf-8")
    )
    return f"{head}\n\n{text}"
