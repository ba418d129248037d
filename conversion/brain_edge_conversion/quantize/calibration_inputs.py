"""Calibration inputs of a quantisation: what cannot set ranges is refused, and a fit to one person is warned of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.errors import InputError
from brain_edge.evaluation.cohort import Split
from brain_edge_conversion.budget.capture import load_inputs
from brain_edge_conversion.quantize.ladder import Weights
from brain_edge_conversion.search.judgement import outcome_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from brain_edge_conversion.budget.budget import AccuracyBudget
    from brain_edge_conversion.quantize.policy import Trial
    from brain_edge_conversion.search.journal import Entry
    from brain_edge_conversion.search.space import TrialSetup


def require_contrast(inputs: Mapping[str, Sequence[Path]]) -> None:
    """Refuse network inputs that have one value in every voxel: no range and no weight can be taken from them.

    Args:
        inputs: `.npy` files of inputs of each graph.

    Raises:
        InputError: no input of a graph has two values.
    """
    for graph, files in inputs.items():
        if not any(batch.min() < batch.max() for batch in load_inputs(files)):
            raise InputError(
                f"expected calibration images with contrast, got one value in all voxels of each of the {len(files)} "
                f"input(s) of the graph {graph}; check the images of the calibration split"
            )


def is_one_person(setup: TrialSetup[Trial]) -> bool:
    """Return True if all calibration cases are of one person."""
    return len({setup.subjects[case.number] for case in setup.splits.calibration}) == 1


def fit_warnings(
    entry: Entry[Trial], entries: Sequence[Entry[Trial]], searched_on: Split, budget: AccuracyBudget
) -> tuple[str, ...]:
    """Return the warning about weights that were fitted to one person, with the figures that show over-fitting.

    Args:
        entry: trial as measured on the search data.
        entries: all trials of the search.
        searched_on: split of the search data.
        budget: budget of the search.
    """
    if entry.choice.setting.weights is Weights.AS_TRAINED or not entry.ran:
        return ()
    words = "The weights were fitted to the images of one person, and may suit other people less"
    if searched_on is Split.CALIBRATION:
        return (f"{words}. No other images show by how much, because there is no validation split.",)
    fitted = outcome_of(entry, budget).verdict.worst_mean_drop
    figures = f"On the {searched_on} images the mean drop is {fitted:.5f}{_as_trained(entries, budget)}."
    ended = f" The {searched_on} images also decided when the training ended." if entry.choice.setting.distilled else ""
    return (f"{words}. {figures}{ended}",)


def _as_trained(entries: Sequence[Entry[Trial]], budget: AccuracyBudget) -> str:
    """Return in words the least drop of a setting with weights as trained; nothing if none was measured."""
    drops = [
        outcome_of(each, budget).verdict.worst_mean_drop
        for each in entries
        if each.ran and each.choice.setting.weights is Weights.AS_TRAINED and not each.choice.reverted
    ]
    return f", and {min(drops):.5f} at the best setting with weights as trained" if drops else ""
