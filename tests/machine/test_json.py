"""JSON of other people: whatever is wrong with it is one error, and everything that reads a file asks one decoder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import brain_edge
import brain_edge_conversion
from brain_edge.deploy.wheelhouse.make import INSTALLER
from brain_edge.errors import BrainEdgeError, InputError, UsageError
from brain_edge.evaluation.cohort.manifest import parse_manifest
from brain_edge.jobs.bids.dataset import open_dataset
from brain_edge.jobs.bids.description import read_description
from brain_edge.jobs.record import read_case_record
from brain_edge.machine.json import MOST_LEVELS, decode_json, unforeseen
from brain_edge_conversion.folders.reading import read_json, read_yaml
from brain_edge_conversion.specification import spec_from_json

DAMAGED = (b'{"Name": "M\xfcller", "BIDSVersion": "1.8.0"}', b'{"x": ' + b"[" * 100_000, b'{"Name": ', b"")


@pytest.mark.parametrize("content", DAMAGED)
def test_what_is_damaged_nested_or_no_text_is_one_error(content: bytes):
    with pytest.raises(msgspec.DecodeError):
        decode_json(content, object)


@pytest.mark.parametrize("depth", [MOST_LEVELS, 900])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_what_no_type_describes_has_only_so_many_levels(opening: str, closing: str, depth: int):
    """Python goes through more until its stack is full, which depends on who asks."""
    content = opening * (depth - 1) + "[1]" + closing * (depth - 1)
    assert bool(unforeseen(json.loads(content))) is (depth > MOST_LEVELS)
    if depth == MOST_LEVELS:
        assert decode_json(content.encode(), object) == json.loads(content)
    else:
        with pytest.raises(msgspec.DecodeError, match=f"more than {MOST_LEVELS} levels deep"):
            decode_json(content.encode(), object)


@pytest.mark.parametrize("content", [b"1" + b"0" * 400, b'{"a": [0, -1' + b"0" * 400 + b"]}"])
def test_what_no_type_describes_has_no_number_beyond_floats(content: bytes):
    with pytest.raises(msgspec.DecodeError, match="a number too large for a float"):
        decode_json(content, object)
    assert decode_json(b"1" + b"0" * 300, object) == 10**300


def test_a_byte_order_mark_is_no_part_of_the_text():
    """RFC 8259: a parser may ignore it."""
    assert decode_json('{"a": "ä"}'.encode("utf-8-sig"), dict[str, str]) == {"a": "ä"}


@pytest.mark.parametrize("content", DAMAGED)
def test_every_reader_refuses_it_in_its_own_words(tmp_path: Path, content: bytes):
    (tmp_path / "dataset_description.json").write_bytes(content)
    path = tmp_path / "dataset_description.json"
    with pytest.raises(InputError, match="expected JSON"):
        open_dataset(tmp_path)
    with pytest.raises(UsageError, match="expected JSON, could not read it"):
        read_description(path)
    with pytest.raises(InputError, match="expected a file in the format of a test"):
        read_json(path, dict, "a test")
    with pytest.raises(BrainEdgeError, match="not a model specification"):
        spec_from_json(content, "spec.json")
    assert read_case_record(path) is None


def test_a_dataset_described_with_a_byte_order_mark_is_read(tmp_path: Path):
    text = '{"Name": "ä", "BIDSVersion": "1.8.0"}'
    (tmp_path / "dataset_description.json").write_text(text, encoding="utf-8-sig")
    (tmp_path / ".bidsignore").write_text("sub-9*\n", encoding="utf-8-sig")
    dataset = open_dataset(tmp_path)
    assert dataset.name == "ä"
    assert dataset.ignored.match_file("sub-9x/")


@pytest.mark.parametrize("text", ["x = " + "1" * 5000, "x = " + "[" * 20_000, "x = 2001-99-99"])
def test_values_that_choke_the_parser_of_a_manifest_are_refused(text: str):
    with pytest.raises(InputError, match=r"c\.toml: expected a cohort manifest in TOML"):
        parse_manifest(text, "c.toml")


@pytest.mark.parametrize("text", ["x: 2001-99-99", "x: !!int abc", "x: " + "[" * 5000])
def test_values_that_choke_the_parser_of_yaml_are_refused(tmp_path: Path, text: str):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=r"x\.yaml: expected a file in the format of a test"):
        read_yaml(tmp_path / "x.yaml", "a test")


IN_THREADS = """
import sys, threading
import msgspec
from brain_edge.evaluation import evidence
from brain_edge.jobs import record
from brain_edge.machine.json import convert_plain, decode_json
from brain_edge.package import manifest
from brain_edge.spec import model

sys.setswitchinterval(1e-6)
found = [each for room in (evidence, record, manifest, model) for each in vars(room).values()]
kinds = sorted({each for each in found if isinstance(each, type) and issubclass(each, msgspec.Struct)}, key=repr)
assert len(kinds) > 30
start = threading.Barrier(4)

def read(order):
    start.wait()
    for kind in kinds[::order]:
        value = dict.fromkeys(reversed(kind.__struct_encode_fields__))
        for decode, given in ((decode_json, msgspec.json.encode(value)), (convert_plain, value)):
            try:
                decode(given, kind)
            except msgspec.MsgspecError:
                pass

threads = [threading.Thread(target=read, args=(1 if number % 2 else -1,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("all read")
"""


def test_threads_that_meet_a_type_for_the_first_time_do_not_kill_the_process():
    """With `msgspec.json.decode(..., type=kind)` the process dies of SIGSEGV every time (msgspec 0.22.0)."""
    done = subprocess.run([sys.executable, "-c", IN_THREADS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "all read\n", "")


def test_nothing_decodes_a_file_by_itself():
    """And nothing decodes into a type beside the one decoder that is safe in threads."""
    by_itself = re.compile(r"json\.(decode|loads?)\([a-z_.]*(read_bytes|read_text|open)\(")
    into_a_type = re.compile(r"msgspec\.(convert|(json|msgpack|toml|yaml)\.Decoder)\(|msgspec\.\w+\.decode\(.*type=")
    roots = [Path(str(module.__file__)).parent for module in (brain_edge, brain_edge_conversion)]
    files = [
        path for root in roots for path in root.rglob("*.py") if path != INSTALLER
    ]  # which imports nothing of ours
    assert len(files) > 100
    texts = {path.name: path.read_text(encoding="utf-8") for path in files if path.parent.name != "machine"}
    assert [name for name, text in texts.items() if by_itself.search(text)] == []
    assert [name for name, text in texts.items() if into_a_type.search(text)] == []
