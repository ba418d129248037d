"""SNOMED CT codes of labels, from which a workstation knows that segment 1 is a brain.

The table is `codes.toml`. A label without a code in its package and without a name in this table is refused, because a
segment of unknown meaning is not a result.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from brain_edge.errors import PackageError
from brain_edge.spec import Code, Task

if TYPE_CHECKING:
    from brain_edge.spec import Label


class Category(Enum):
    """Segmented property category (0062,0003) of a segment."""

    ANATOMY = Code(scheme="SCT", value="91723000", meaning="Anatomical Structure")
    """A part of the body."""
    TISSUE = Code(scheme="SCT", value="85756007", meaning="Tissue")
    """A tissue at any place."""
    SUBSTANCE = Code(scheme="SCT", value="91720002", meaning="Body Substance")
    """A fluid."""
    ABNORMALITY = Code(scheme="SCT", value="49755003", meaning="Morphologically Abnormal Structure")
    """A lesion or part of one."""


@dataclass(frozen=True)
class Coded:
    """The two codes of a segment."""

    category: Category
    type: Code

    @property
    def is_abnormal(self) -> bool:
        """True for lesions, whose segment also states the organ."""
        return self.category is Category.ABNORMALITY


BRAIN: Final = Code(scheme="SCT", value="12738006", meaning="Brain")


_TABLE: Final = tomllib.loads(files("brain_edge.io.dicom").joinpath("codes.toml").read_text(encoding="utf-8"))
CODES: Final = {
    name: Coded(Category[category.upper()], Code(scheme=scheme, value=value, meaning=meaning))
    for name, (category, scheme, value, meaning) in _TABLE["codes"].items()
}
"""Codes by the plain name of a label."""
_SYNONYMS: Final = {other: name for name, others in _TABLE["synonyms"].items() for other in others}


def coded(label: Label, task: Task) -> Coded:
    """Return the codes of a label: the package's own code, or the code of its name in the table.

    Raises:
        PackageError: the label has neither.
    """
    known = {entry.type.value: entry for entry in CODES.values()}
    if label.code is not None:
        familiar = known.get(label.code.value)
        usual = Category.ABNORMALITY if task in (Task.LESION, Task.TUMOUR) else Category.ANATOMY
        return Coded(familiar.category if familiar else usual, label.code)
    name = " ".join(label.name.lower().replace("-", " ").replace("_", " ").split())
    found = CODES.get(_SYNONYMS.get(name, name))
    if found is None:
        raise PackageError(
            f"expected a standard code for label {label.value} {label.name!r} to identify its segment, got none; "
            "give the label a `code` (scheme, value, meaning) in the specification"
        )
    return found
