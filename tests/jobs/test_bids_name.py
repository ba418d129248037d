"""File names of BIDS: what is read, what is refused, and that the validator agrees."""

from __future__ import annotations

import pytest
from bids_dataset import describe_dataset, phantom_dataset, validate
from hypothesis import given
from hypothesis import strategies as st

from brain_edge.errors import InputError
from brain_edge.jobs.bids.name import ENTITY_ORDER, RAW_SUFFIXES, BidsName, in_order, is_image_name, parse_raw_name

LABELS = st.text("0123456789abcXYZ", min_size=1, max_size=6)
NAMES = st.builds(
    lambda subject, others, suffix, extension: BidsName(in_order({"sub": subject, **others}), suffix, extension),
    LABELS,
    st.dictionaries(st.sampled_from(["ses", "task", "acq", "ce", "rec", "mod"]), LABELS),
    st.sampled_from(sorted(RAW_SUFFIXES)),
    st.sampled_from([".nii", ".nii.gz"]),
)


@given(NAMES)
def test_a_name_that_is_written_is_read_back(name):
    assert parse_raw_name(str(name)) == name


def test_entities_are_read_with_their_values():
    name = parse_raw_name("sub-01_ses-post_acq-highres_ce-gad_run-02_T1w.nii.gz")
    assert name.entities == {"sub": "01", "ses": "post", "acq": "highres", "ce": "gad", "run": "02"}
    assert (name.suffix, name.extension) == ("T1w", ".nii.gz")


REFUSED = {
    "sub-01_T1.nii.gz": "'T1' is not a suffix of an anatomical image; perhaps T1w is meant",
    "sub-01_flair.nii.gz": "'flair' is not a suffix of an anatomical image; perhaps FLAIR is meant",
    "sub-01_brain.nii.gz": "'brain' is not a suffix of an anatomical image$",
    "head.nii.gz": "'head' is not a suffix",
    "T1w.nii.gz": "expected a name that begins with sub-",
    "ses-1_sub-01_T1w.nii.gz": "expected a name that begins with sub-",
    "sub-01_sub-02_T1w.nii.gz": "expected each entity once, got 'sub' twice",
    "sub-01_run-1_acq-a_T1w.nii.gz": "expected the entities in the order sub, acq, run",
    "sub-01_run-first_T1w.nii.gz": "expected a number after run-, got 'first'",
    "sub-01_acq-high res_T1w.nii.gz": "expected letters and digits after acq-, got 'high res'",
    "sub-0.1_T1w.nii.gz": "expected letters and digits after sub-, got '0.1'",
    "sub-01_space-orig_T1w.nii.gz": "'space-orig' is not an entity of a raw anatomical image",
    "sub-01_left_T1w.nii.gz": "'left' is not an entity",
    "sub-_T1w.nii.gz": "expected letters and digits after sub-, got ''",
}


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_what_is_no_name_of_a_raw_image_is_refused(name, reason):
    with pytest.raises(InputError, match=reason) as refused:
        parse_raw_name(name)
    assert str(refused.value).startswith(name)


@pytest.mark.full  # six seconds; in CI the validator passes what is written
def test_the_validator_refuses_these_names_too(tmp_path):
    """Each in a dataset of its own would take seconds, so: as many files with errors as there are bad names."""
    good = ["sub-01_T1w", "sub-01_acq-a_ce-gad_run-2_T2w", "sub-01_FLAIR"]
    assert validate(phantom_dataset(tmp_path / "good", good))["error"] == set()
    for number, name in enumerate(name for name in REFUSED if name.startswith("sub-01_") and "sub-02" not in name):
        folder = describe_dataset(tmp_path / str(number)) / "sub-01" / "anat"
        folder.mkdir(parents=True)
        (folder / name).write_bytes((tmp_path / "good/sub-01/anat/sub-01_T1w.nii.gz").read_bytes())
        assert validate(tmp_path / str(number))["error"], name


def test_hidden_files_and_other_files_are_no_images():
    assert is_image_name("sub-01_T1w.nii")
    assert not is_image_name("._sub-01_T1w.nii.gz")
    assert not is_image_name("sub-01_T1w.json")


def test_the_order_of_entities_is_the_schemas():
    """Where the schema is installed (it is no dependency)."""
    schema = pytest.importorskip("bidsschematools.schema", reason="needs bidsschematools, the schema of BIDS")
    loaded = schema.load_schema()
    order = [loaded.objects.entities[name].name for name in loaded.rules.entities]
    assert [key for key in order if key in ENTITY_ORDER] == list(ENTITY_ORDER)
    assert {suffix for rule in loaded.rules.files.raw.anat.values() for suffix in rule.suffixes} == RAW_SUFFIXES
