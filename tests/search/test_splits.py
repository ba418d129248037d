"""What a search could not judge is refused before it begins, and witnesses are people with something to lose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from cohorts import head, make_case, save_manifest, threshold_spec

from brain_edge.errors import BudgetError, UsageError
from brain_edge.evaluation.cohort import CaseEntry, CheckedCase, Split, load_cohort
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.search.splits import require_search, split_cohort

if TYPE_CHECKING:
    from pathlib import Path

SURE = AccuracyBudget(confidence=0.8, max_exceedance=0.4)
"""Needs four people: 0.6^4 is 0.13, and 0.6^3 is 0.22."""


def case(folder: Path, subject: str, split: Split, seed: int, *, reference: bool = True) -> CaseEntry:
    voxels = head(seed)
    return make_case(
        folder / str(seed), subject, split, voxels=voxels, mask=(voxels > 300).astype(np.uint8) if reference else None
    )


def require(folder: Path, budget: AccuracyBudget, *tests: tuple[str, bool], **header) -> dict[int, CheckedCase]:
    """Ask with one case to calibrate, one to search on, and test cases of (subject, has a reference)."""
    reference = any(known for _, known in tests)
    entries = [case(folder, "c", Split.CALIBRATION, 1), case(folder, "v", Split.VALIDATION, 2, reference=reference)]
    entries += [case(folder, name, Split.TEST, 3 + k, reference=known) for k, (name, known) in enumerate(tests)]
    moved = [_below(entry, str(number)) for number, entry in enumerate(entries, start=1)]
    cohort = load_cohort(save_manifest(folder, *moved, **header))
    splits = split_cohort(cohort, calibrates=True)
    return dict(require_search(splits, threshold_spec(300), budget, lambda _line: None))


def _below(entry: CaseEntry, folder: str) -> CaseEntry:
    """The sources as the manifest sees them, a folder further up."""

    def moved(file):
        return file and msgspec.structs.replace(file, source=f"{folder}/{file.source}")

    inputs = {name: moved(file) for name, file in entry.inputs.items()}
    return msgspec.structs.replace(entry, inputs=inputs, reference=moved(entry.reference), visit=folder)


def test_four_people_are_enough_and_every_image_is_known_by_its_hash(tmp_path: Path):
    found = require(tmp_path, SURE, *((name, True) for name in "pqrs"))
    assert sorted(found) == [1, 2, 3, 4, 5, 6]
    assert len(frozenset().union(*(each.hashes for each in found.values()))) == 6


@pytest.mark.parametrize(
    ("tests", "header", "counted"),
    [
        ([("p", True), ("q", True), ("r", True)], {}, 3),
        ([("p", True), ("P ", True), ("q", True), ("r", True)], {}, 3),
        ([("p", True), ("q", True), ("r", False), ("s", False)], {}, 2),
        ([("p", False), ("q", False), ("r", False)], {}, 3),
        ([(name, True) for name in "pqrs"], {"synthetic": True}, 0),
    ],
    ids=["three", "two visits of one", "two without a reference beside two with", "none has a reference", "synthetic"],
)
def test_witnesses_are_counted_by_person_and_reference(tmp_path: Path, tests, header, counted: int):
    with pytest.raises(BudgetError, match=rf"expected 4 test subjects .* has {counted}; add {4 - counted}\."):
        require(tmp_path, SURE, *tests, **header)


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (AccuracyBudget(unbound=(7,)), r"expected --unbound to name a label of threshold \(1\), got 7"),
        (AccuracyBudget(unbound=(1,)), "--unbound names every label of threshold, so the budget has no effect"),
        (
            AccuracyBudget(max_hd95_increase_mm=1.0),
            "--max-hd95-increase-mm needs reference masks, .* remove the option",
        ),
    ],
)
def test_what_would_bind_nothing_is_refused(tmp_path: Path, budget: AccuracyBudget, words: str):
    with pytest.raises(UsageError, match=words):
        require(tmp_path, budget, ("p", False))
