"""All faults of a document are found at once, each with its place, the allowed words and the nearest of them."""

from __future__ import annotations

import json

import msgspec
import pytest
from cli_program import refused
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import specs
from tiny_package import CASCADE, SPEC, tiny_manifest

from brain_edge.errors import PackageError
from brain_edge.machine.nearest import LONGEST_WORD, did_you_mean, nearest
from brain_edge.package.manifest import Manifest
from brain_edge.spec import ModelSpec, canonical_json
from brain_edge.spec.problems import MOST_PROBLEMS, Problem, problems_in, refusal


def broken() -> dict:
    """The plain data of a cascade with a fault of each kind."""
    plain = json.loads(canonical_json(CASCADE))
    first, second = plain["stages"]
    plain["task"] = "tumor"
    plain["nam"] = plain.pop("name")
    plain["inputs"][0]["contrasts"] = ["t1w", "flare"]
    plain["labels"][0]["value"] = 256
    first["before"][0]["op"] = "oriant"
    first["network"]["activation"] = "Softmax"
    second["network"].update(channels_in="1", flips=[[3]], execution={"kind": "sliding-window"})
    second["before"].append({"op": "orient", "axis": "RAS"})
    second["after"][0]["version"] = 2
    del second["name"]
    return plain


FOUND = {
    "task": ("tumor", "tumour"),
    "nam": ("nam", "name"),
    "inputs[0].contrasts[0]": ("t1w", "T1w"),
    "inputs[0].contrasts[1]": ("flare", "FLAIR"),
    "labels[0].value": (256, ""),
    "stages[0].before[0].op": ("oriant", "orient"),
    "stages[0].network.activation": ("Softmax", "softmax"),
    "stages[1].network.channels_in": ("1", ""),
    "stages[1].network.flips[0][0]": (3, ""),
    "stages[1].network.execution.kind": ("sliding-window", "sliding_window"),
    "stages[1].before[-1].axis": ("axis", "axes"),
    "stages[1].after[0].version": (2, ""),
    "stages[1].name": (None, ""),
}


def test_every_fault_is_found_with_its_place_and_what_was_meant():
    plain = broken()
    last = len(plain["stages"][1]["before"]) - 1
    wanted = {place.replace("[-1]", f"[{last}]"): told for place, told in FOUND.items()}
    found = {
        each.path: (json.loads(each.got) if each.got else None, each.suggestion)
        for each in problems_in(json.dumps(plain))
    }
    assert found == wanted


def test_a_word_of_a_list_comes_with_the_list():
    (problem,) = problems_in(canonical_json(SPEC).replace(b'"skull-stripping"', b'"skull_stripping"'))
    assert problem.allowed == ("skull-stripping", "tissue", "lesion", "tumour", "synthesis")
    assert str(problem) == (
        "task: expected one of skull-stripping, tissue, lesion, tumour, synthesis, "
        'got "skull_stripping"; did you mean skull-stripping?'
    )


def test_parts_that_do_not_fit_are_found_together():
    plain = json.loads(canonical_json(SPEC))
    plain["inputs"][0]["missing"] = "zero"
    plain["labels"] *= 2
    plain["stages"][0]["after"] = []
    assert [(each.path, each.words.split()[-1]) for each in problems_in(json.dumps(plain))] == [
        ("labels", "twice"),
        ("inputs[0].missing", "grid"),
        ("stages[0].after", "nearest"),
        ("stages[0].after", "once"),
    ]


@given(specs())
@settings(max_examples=25)
def test_a_specification_that_can_be_read_has_none(spec):
    assert problems_in(canonical_json(spec)) == ()


PLACES = sorted({"name", "task", "inputs", "stages", "labels", "plausible"})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 300) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["op", "name", "a b"]), inner),
    max_leaves=4,
)


@given(st.sampled_from(PLACES), VALUES)
@settings(max_examples=100)
def test_a_document_has_problems_just_where_it_cannot_be_read(place, value):
    text = json.dumps({**json.loads(canonical_json(SPEC)), place: value})
    try:
        msgspec.json.decode(text, type=ModelSpec)
    except msgspec.ValidationError:
        assert problems_in(text)
    else:
        assert problems_in(text) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"name": "x",\n "task": }', "expected JSON: Expecting value at line 2, column 10"),
        (b"", "expected JSON: Expecting value at line 1, column 1"),
        (b"\xff", "expected JSON: "),
        (b'{"name": NaN}', "expected JSON: "),
        (b"[]", "expected an object, got []"),
        ("\udcff", "expected JSON: "),
    ],
)
def test_text_that_is_no_document_is_one_problem(text, words):
    (problem,) = problems_in(text)
    assert str(problem).startswith(words)


def test_a_manifest_is_read_the_same_way():
    plain = json.loads(canonical_json(tiny_manifest()))
    plain.update(precision="fp32", weights_status="Random")
    plain["spec"]["task"] = "lesions"
    plain["files"] = {"../evil": {"sha256": "ab" * 32, "size_bytes": -1}}
    found = {each.path: each.suggestion for each in problems_in(json.dumps(plain), Manifest)}
    assert found == {
        "spec.task": "lesion",
        "weights_status": "random",
        "precision": "f32",
        'files["../evil"]': "",
        'files["../evil"].size_bytes': "",
    }


def test_thousands_of_faults_are_cut():
    assert len(problems_in(json.dumps({str(number): 0 for number in range(5000)}))) == MOST_PROBLEMS


def test_a_refusal_says_the_first_and_notes_each_further_one():
    error = refusal(PackageError, "s.json: no", [Problem("a", "one"), Problem("b", "two"), Problem("c", "three")])
    assert str(error) == "s.json: no: a: one (the first of 3 faults)"
    assert error.__notes__ == ["b: two", "c: three"]
    assert str(refusal(PackageError, "s.json: no", [Problem("", "one")])) == "s.json: no: one"


def test_convert_shows_them_all(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"not yet looked at")
    (tmp_path / "spec.json").write_text(json.dumps(broken()), encoding="utf-8")
    lines = refused(5, "convert", tmp_path / "net.onnx", "--spec", tmp_path / "spec.json").splitlines()
    assert lines[0].startswith(f"error: {tmp_path / 'spec.json'}: this is not a model specification")
    assert lines[0].endswith(f"(the first of {len(FOUND)} faults)")
    assert len(lines) == len(FOUND)
    words = (
        'task: expected one of skull-stripping, tissue, lesion, tumour, synthesis, got "tumor"; did you mean tumour?'
    )
    assert f"  {words}" in lines


@pytest.mark.parametrize(("got", "meant"), [("flair", "FLAIR"), ("T1", "T1w"), ("ultrasound", ""), ("", "")])
def test_the_nearest_word_is_taken_whatever_the_case(got, meant):
    assert nearest(got, ["T1w", "T2w", "FLAIR"]) == meant
    assert did_you_mean(got, ["T1w", "T2w", "FLAIR"]) == (f"; did you mean {meant}?" if meant else "")


def test_a_word_far_too_long_is_not_compared():
    assert nearest("a" * (LONGEST_WORD + 1), ["a" * LONGEST_WORD]) == ""
