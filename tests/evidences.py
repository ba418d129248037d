"""Records of accuracy with plain figures, for tests that change what they are about."""

from __future__ import annotations

from typing import Any

from brain_edge.evaluation.evidence import AccuracyCase, Basis, Change, Evidence, Limits


def accuracy_case(case: int = 1, label: int = 1, **fields: Any) -> AccuracyCase:
    """One label of one test case of a subject of its own, without a reference unless Dice is given."""
    known: dict[str, Any] = {
        "split": "test",
        "subject": case,
        "voxel_diagonal_mm": 1.7,
        "dice_baseline": None,
        "dice_candidate": None,
        "drop": None,
        "agreement": None,
        "hd95_baseline_mm": None,
        "hd95_candidate_mm": None,
        "volume_baseline_ml": 1000.0,
        "volume_candidate_ml": 1000.0,
        "reference_volume_ml": None,
    }
    return AccuracyCase(case=case, label=label, **(known | fields))


def evidence(**fields: Any) -> Evidence:
    """Of a quantisation that lost nothing, on a cohort that nobody has."""
    known: dict[str, Any] = {
        "change": Change.QUANTIZED,
        "changes": ("performance preset",),
        "baseline": "ab" * 32,
        "statement": "one head",
        "bounds": "mean drop of a label at most 0.01",
        "limits": Limits(max_dice_drop=0.01, max_case_drop=0.02),
        "basis": Basis.ACCURACY,
        "worst_mean_drop": 0.0,
        "worst_case_drop": 0.0,
        "worst_mean_disagreement": 0.0,
        "int8_share": 1.0,
        "cohort_sha256": "cd" * 32,
        "demonstration": False,
        "searched_on": "validation",
        "seen_images": (),
        "subjects": 1,
        "next_patient": "",
        "earlier_looks": (),
        "warnings": (),
        "cases": (),
        "labels": (),
        "threads": 1,
    }
    return Evidence(**(known | fields))
