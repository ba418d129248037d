"""What a label is called in SNOMED CT, so that a workstation knows that segment 1 is a brain.

Categories are of CID 7150, types of CID 7151 and 7140 (DICOM PS3.16). Where those context groups take a type
from another scheme (an enhancing lesion is an NCIt code there), so do we. A label without a code in its
package and without a name in this table is refused: a segment of unknown meaning is no result.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from brain_edge.errors import PackageError
from brain_edge.spec import Code, Task

if TYPE_CHECKING:
    from brain_edge.spec import Label


class Category(Enum):
    """Segmented property category (0062,0003): what kind of thing a segment is."""

    ANATOMY = Code(scheme="SCT", value="91723000", meaning="Anatomical Structure")
    """A part of the body."""
    TISSUE = Code(scheme="SCT", value="85756007", meaning="Tissue")
    """A tissue wherever it lies."""
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
        """True for lesions, whose segment then also says in which organ."""
        return self.category is Category.ABNORMALITY


BRAIN: Final = Code(scheme="SCT", value="12738006", meaning="Brain")


def _coded(category: Category, value: str, meaning: str, scheme: str = "SCT") -> Coded:
    return Coded(category, Code(scheme=scheme, value=value, meaning=meaning))


_ANATOMY: Final = {
    "brain": _coded(Category.ANATOMY, "12738006", "Brain"),
    "cerebral cortex": _coded(Category.ANATOMY, "40146001", "Cerebral cortex"),
    "lateral ventricle": _coded(Category.ANATOMY, "66720007", "Lateral Ventricle"),
    "inferior lateral ventricle": _coded(Category.ANATOMY, "53118009", "Inferior Horn of Lateral Ventricle"),
    "third ventricle": _coded(Category.ANATOMY, "49841001", "Third ventricle"),
    "fourth ventricle": _coded(Category.ANATOMY, "35918002", "Fourth Ventricle"),
    "ventricle": _coded(Category.ANATOMY, "35764002", "Brain ventricle"),
    "cerebellum": _coded(Category.ANATOMY, "113305005", "Cerebellum"),
    "cerebellar cortex": _coded(Category.ANATOMY, "25991003", "Cerebellar Cortex"),
    "thalamus": _coded(Category.ANATOMY, "42695009", "Thalamus"),
    "caudate": _coded(Category.ANATOMY, "11000004", "Caudate Nucleus"),
    "putamen": _coded(Category.ANATOMY, "89278009", "Putamen"),
    "pallidum": _coded(Category.ANATOMY, "14738005", "Globus Pallidus"),
    "brain stem": _coded(Category.ANATOMY, "119238007", "Brain Stem"),
    "hippocampus": _coded(Category.ANATOMY, "5366008", "Hippocampus"),
    "amygdala": _coded(Category.ANATOMY, "4958002", "Amygdala"),
    "accumbens": _coded(Category.ANATOMY, "427667007", "Nucleus Accumbens"),
    "ventral diencephalon": _coded(Category.ANATOMY, "110700", "Ventral Diencephalon", "DCM"),
    "corpus callosum": _coded(Category.ANATOMY, "88442005", "Corpus callosum"),
}
_TISSUES: Final = {
    "grey matter": _coded(Category.TISSUE, "389081007", "Gray Matter"),
    "white matter": _coded(Category.TISSUE, "389080008", "White Matter"),
    "cerebral white matter": _coded(Category.TISSUE, "68523003", "Cerebral White Matter"),
    "cerebellar white matter": _coded(Category.TISSUE, "33060004", "Cerebellar White Matter"),
    "csf": _coded(Category.SUBSTANCE, "65216001", "Cerebrospinal Fluid"),
}
_LESIONS: Final = {
    "lesion": _coded(Category.ABNORMALITY, "52988006", "Lesion"),
    "neoplasm": _coded(Category.ABNORMALITY, "108369006", "Neoplasm"),
    "oedema": _coded(Category.ABNORMALITY, "79654002", "Edema"),
    "necrosis": _coded(Category.ABNORMALITY, "6574001", "Necrosis"),
    "enhancing lesion": _coded(Category.ABNORMALITY, "C113842", "Enhancing Lesion", "NCIt"),
    "non enhancing lesion": _coded(Category.ABNORMALITY, "C81175", "Non-Enhancing Lesion", "NCIt"),
    "white matter hyperintensity": _coded(Category.ABNORMALITY, "110702", "White Matter T2 Hyperintensity", "DCM"),
}
CODES: Final = {**_ANATOMY, **_TISSUES, **_LESIONS}
"""By the plain name of a label."""

_SYNONYMS: Final = {
    **dict.fromkeys(("gm", "gray matter"), "grey matter"),
    "wm": "white matter",
    "cerebrospinal fluid": "csf",
    **dict.fromkeys(("tumour", "tumor", "whole tumour", "whole tumor", "wt", "tumour core", "tc"), "neoplasm"),
    **dict.fromkeys(("edema", "peritumoral edema", "peritumoural oedema", "ed"), "oedema"),
    **dict.fromkeys(("enhancing tumour", "enhancing tumor", "et"), "enhancing lesion"),
    **dict.fromkeys(("non enhancing tumour", "non enhancing tumor", "net"), "non enhancing lesion"),
    **dict.fromkeys(("necrotic core", "ncr"), "necrosis"),
    **dict.fromkeys(("wmh", "white matter lesion"), "white matter hyperintensity"),
    "3rd ventricle": "third ventricle",
    "4th ventricle": "fourth ventricle",
    "brainstem": "brain stem",
    "accumbens area": "accumbens",
    "ventraldc": "ventral diencephalon",
    "cerebellum white matter": "cerebellar white matter",
    "cerebellum cortex": "cerebellar cortex",
    "caudate nucleus": "caudate",
    "globus pallidus": "pallidum",
    "thalamus proper": "thalamus",
}


def coded(label: Label, task: Task) -> Coded:
    """The codes of a label: the package's own code, or that of its name.

    Raises:
        PackageError: it has neither.
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
            f"label {label.value} {label.name!r} has no standard code, so a segment of it would mean nothing to a "
            "workstation; give the label a `code` (scheme, value, meaning) in the model's specification"
        )
    return found
