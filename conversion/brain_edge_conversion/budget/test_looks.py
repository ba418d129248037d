"""How often a test split was looked at: each further candidate judged on it makes its figures a little less new.

An append-only log beside the packages, `.brain-edge-test-looks.jsonl`: the folder that the user has named for results
is the only one that is written to. Judgements elsewhere are not seen, and the record says so.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.machine.json import decode_json
from brain_edge.package.digest import sha256_of
from brain_edge.spec import Value

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from brain_edge.package import ModelPackage

LOG: Final = ".brain-edge-test-looks.jsonl"


class Look(Value, frozen=True):
    """One judgement: hashes only, of the test images and of the candidate's graphs."""

    test_images: str
    candidate: str


def look_at(candidate: ModelPackage, images: Iterable[str]) -> Look:
    """The judgement of a candidate on images, by their hashes: it is its graphs, whose files carry the spec."""
    graphs = (candidate.graph_file(graph) for graph in candidate.spec.graphs)
    hashes = "+".join(sha256_of(file.with_suffix(suffix)) for file in graphs for suffix in (".xml", ".bin"))
    # of the images: another title, file or calibration split makes no new ones
    named = hashlib.sha256("\n".join(sorted(images)).encode()).hexdigest()
    return Look(test_images=named, candidate=hashes)


def record_look(folder: Path, look: Look) -> int:
    """Write down that a candidate is judged; how many others were judged on these images before it was first.

    The same candidate judged again, after an interruption for one, tells nobody anything new and is not counted.
    """
    path = folder / LOG
    seen = list(dict.fromkeys(entry.candidate for entry in _read(path) if entry.test_images == look.test_images))
    if look.candidate in seen:
        return seen.index(look.candidate)
    with path.open("ab") as log:
        log.write(msgspec.json.encode(look) + b"\n")
    return len(seen)


def _read(path: Path) -> list[Look]:
    lines = path.read_bytes().split(b"\n") if path.is_file() else [b""]
    # what follows the last line end is empty, or a line that a killed process has not finished
    return [decode_json(line, Look) for line in lines[:-1]]
