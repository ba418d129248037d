from __future__ import annotations

import hashlib
import tomllib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_edge.errors import InputError
from brain_edge.evaluation.cohort import CaseEntry, CohortManifest, FileEntry, Split, parse_manifest, read_manifest
from brain_edge.evaluation.cohort.toml import format_manifest

HEADER = """
name = "tiny"
title = "two heads"
licence = "CC0"
citation = ""
sequences = ["T1", "T2"]
"""


def _digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _case(subject: str, split: str, image: int, *, visit: str = "", sequence: str = "T1") -> str:
    return f"""
[[case]]
subject = "{subject}"
visit = "{visit}"
split = "{split}"
inputs.{sequence} = {{ source = "{image}.nii.gz", sha256 = "{_digest(image)}" }}
"""


def test_a_manifest_is_read_as_it_is_written_down():
    manifest = parse_manifest(HEADER + _case("a", "test", 1) + _case("b", "calibration", 2, sequence="T2"), "x.toml")
    assert [case.subject for case in manifest.cases] == ["a", "b"]
    assert manifest.cases[1].split is Split.CALIBRATION
    assert manifest.cases[1].inputs["T2"].sha256 == _digest(2)
    assert not manifest.demo
    assert not manifest.synthetic


def test_a_subject_in_two_splits_is_refused_however_it_is_spelled():
    text = HEADER + _case("Patient01", "calibration", 1) + _case("patient01", "test", 2, visit="2")
    with pytest.raises(InputError, match=r"x\.toml: the subject patient01 is in the splits calibration and test"):
        parse_manifest(text, "x.toml")


def test_a_name_whose_accents_are_letters_of_their_own_is_the_same_name():
    """As a zip of macOS writes it; on Linux it is another text."""
    names = [unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD")]
    assert names[0] != names[1]
    text = HEADER + _case(names[0], "calibration", 1) + _case(names[1], "test", 2, visit="2")
    with pytest.raises(InputError, match="is in the splits calibration and test"):
        parse_manifest(text, "x.toml")


def test_a_demonstration_may_use_one_subject_and_image_in_several_splits():
    text = "demo = true\n" + HEADER + _case("a", "calibration", 1) + _case("a", "test", 1)
    assert parse_manifest(text, "x.toml").demo


@pytest.mark.parametrize("demo", ["", "demo = true\n"])
def test_a_case_that_is_there_twice_is_refused(demo: str):
    with pytest.raises(InputError, match="the case a T1 occurs twice; remove one"):
        parse_manifest(demo + HEADER + _case("a", "test", 1) + _case("a", "test", 2), "x.toml")


def test_one_image_in_two_cases_is_refused_because_it_would_count_twice():
    with pytest.raises(InputError, match="T1 of a T1 and T1 of b T1 are the same image"):
        parse_manifest(HEADER + _case("a", "test", 1) + _case("b", "calibration", 1), "x.toml")


def test_a_sequence_that_the_header_does_not_list_is_refused():
    with pytest.raises(InputError, match=r"a FLAIR has the sequence FLAIR, which `sequences` does not list \(T1, T2\)"):
        parse_manifest(HEADER + _case("a", "test", 1, sequence="FLAIR"), "x.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("speed = 1\n" + HEADER + _case("a", "test", 1), r"speed: unknown field"),
        (
            HEADER + _case("a", "training", 1),
            r"case\[0\]\.split: expected one of calibration, validation, test, got \"training\"",
        ),
        (HEADER + _case("a", "test", 1).replace(_digest(1), "abc"), r"inputs\.T1\.sha256: .* matching regex"),
        (HEADER, r"case: expected this field, got none"),
        ("case = []\n" + HEADER, r"length >= 1"),
        (HEADER + "labels = { background = 0 }\n" + _case("a", "test", 1), r"labels\.background: .* matching regex"),
        ("name = ", r"expected a cohort manifest in TOML"),
    ],
)
def test_what_is_not_a_manifest_is_refused_with_the_place(text: str, words: str):
    with pytest.raises(InputError, match=rf"(?s)^x\.toml: .*{words}"):
        parse_manifest(text, "x.toml")


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.toml: expected a cohort manifest, could not read it"):
        read_manifest(tmp_path / "nowhere.toml")
    (tmp_path / "image.toml").write_bytes(b"\x1f\x8b\xff")
    with pytest.raises(InputError, match="got a file that is not text"):
        read_manifest(tmp_path / "image.toml")


def test_the_hash_of_a_cohort_ignores_comments_and_changes_with_any_image():
    text = HEADER + _case("a", "test", 1)
    digest = parse_manifest(text, "x.toml").sha256
    assert parse_manifest("# why\n" + text, "y.toml").sha256 == digest
    assert parse_manifest(HEADER + _case("a", "test", 2), "x.toml").sha256 != digest
    relabelled = parse_manifest(HEADER + "labels = { 4 = 3 }\n" + _case("a", "test", 1), "x.toml")
    assert relabelled.sha256 != digest
    assert relabelled.relabelling == {4: 3}


FILES = st.integers(0, 10**9).map(lambda n: FileEntry(source=f"{n}.nii.gz", sha256=_digest(n)))
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,8}", fullmatch=True)


@st.composite
def manifests(draw: st.DrawFn) -> CohortManifest:
    sequences = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    subjects = draw(st.lists(WORDS, min_size=1, max_size=4, unique_by=lambda name: name.strip().casefold()))
    files = draw(st.lists(FILES, min_size=len(subjects), max_size=len(subjects), unique_by=lambda file: file.sha256))
    cases = [
        CaseEntry(
            subject=subject,
            visit=draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=8)),
            split=draw(st.sampled_from(Split)),
            inputs={draw(st.sampled_from(sequences)): file},
            reference=draw(st.none() | FILES),
            licence=draw(st.none() | WORDS),
        )
        for subject, file in zip(subjects, files, strict=True)
    ]
    return CohortManifest(
        name=draw(NAMES),
        title=draw(WORDS),
        licence=draw(WORDS),
        citation=draw(WORDS),
        demo=draw(st.booleans()),
        synthetic=draw(st.booleans()),
        sequences=tuple(sequences),
        labels=draw(st.dictionaries(st.integers(1, 999).map(str), st.integers(0, 255), max_size=3)),
        cases=tuple(cases),
    )


@given(manifests(), WORDS.filter(str.isprintable))
def test_a_manifest_that_is_written_is_read_back_the_same(manifest: CohortManifest, comment: str):
    text = format_manifest(manifest, comment)
    tomllib.loads(text)
    assert parse_manifest(text, "x.toml") == manifest


def test_a_file_name_that_is_no_text_is_refused_before_anything_is_written():
    entry = FileEntry(source=b"\xff.nii".decode("utf-8", "surrogateescape"), sha256=_digest(1))
    case = CaseEntry(subject="a", split=Split.TEST, inputs={"T1": entry})
    manifest = CohortManifest(name="n", title="t", licence="l", citation="", sequences=("T1",), cases=(case,))
    with pytest.raises(InputError, match="this name is not valid Unicode"):
        format_manifest(manifest)
