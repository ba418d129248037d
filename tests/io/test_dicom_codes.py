"""Every segment has a code that DICOM's own context groups hold, by pydicom's copy of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.sr._concepts_dict import concepts

from brain_edge.errors import PackageError
from brain_edge.io.dicom.codes import BRAIN, CODES, Category, coded
from brain_edge.spec import Code, Label, Task
from brain_edge_conversion.recipes.meshnet_subcortical import NAMES


def known(code: Code) -> list[tuple[str, list[int]]]:
    """Meanings and context groups of a code in the standard."""
    return [
        entry for entries in concepts[code.scheme].values() for value, entry in entries.items() if value == code.value
    ]


@pytest.mark.parametrize("name", CODES)
def test_every_type_is_a_member_of_the_segmentation_property_types(name: str):
    """CID 7151 or CID 7140, with the meaning of the standard."""
    code = CODES[name].type
    assert [meaning for meaning, groups in known(code) if {7151, 7140} & set(groups) and meaning == code.meaning]


@pytest.mark.parametrize("category", Category)
def test_every_category_is_a_member_of_cid_7150(category: Category):
    assert (category.value.meaning, True) in [(meaning, 7150 in groups) for meaning, groups in known(category.value)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("brain", "12738006"),
        ("tumour", "108369006"),
        ("Edema", "79654002"),
        ("necrotic_core", "6574001"),
        ("enhancing-tumor", "C113842"),
        ("GM", "389081007"),
        ("CSF", "65216001"),
        ("lesion", "52988006"),
    ],
)
def test_labels_are_known_by_the_names_that_models_use(name: str, value: str):
    assert coded(Label(value=1, name=name), Task.TUMOUR).type.value == value


@pytest.mark.parametrize("name", NAMES)
def test_every_structure_of_the_shipped_parcellation_has_a_code(name: str):
    assert coded(Label(value=1, name=name), Task.TISSUE).category in (Category.ANATOMY, Category.TISSUE)


def test_the_code_of_the_package_comes_first():
    own = Code(scheme="99LOCAL", value="7", meaning="Something")
    assert coded(Label(value=1, name="brain", code=own), Task.TISSUE).type == own
    assert coded(Label(value=1, name="brain", code=own), Task.LESION).category is Category.ABNORMALITY
    assert coded(Label(value=1, name="x", code=BRAIN), Task.LESION).category is Category.ANATOMY


def test_a_label_without_a_code_is_refused():
    with pytest.raises(PackageError, match="expected a standard code for label 3 'blob'"):
        coded(Label(value=3, name="blob"), Task.LESION)


def test_the_reference_page_lists_every_code():
    """The table that a reader sees is the table of the program."""
    page = (Path(__file__).parents[2] / "docs/reference/dicom.md").read_text(encoding="utf-8")
    rows = {tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in page.splitlines() if line.startswith("|")}
    for name, entry in CODES.items():
        category, code = entry.category.value, entry.type
        assert (name, f"{code.scheme} {code.value} {code.meaning}", category.meaning) in rows
