"""Published networks with their weights on what they see of a real head: where a rival's accuracy can be judged."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from brain_edge.image.volume import FloatArray, Study, Volume
    from brain_edge.package import ModelPackage

TRAINED: Final = {"deepbet-brain": ("deepbet", "brain"), "hd-bet-v1-fold0": ("hd-bet-v1", "fold0")}
"""Recipe and graph by subject of the matrix."""

CALIBRATION_HEADS: Final = 4
"""That INT8 of the peers takes its ranges from, of the calibration split of the recipe's own cohort."""


def trained_module(subject: str) -> nn.Module:
    """The published network, its weights fetched by hash."""
    from brain_edge_conversion.sources import Request, resolve

    recipe, graph = TRAINED[subject]
    resolved = resolve(Request(source=recipe))
    source = next(each for each in resolved.model.graphs if each.graph == graph)
    return (source.rewritable or source.build)(resolved.weights[graph])


def copy_graph(subject: str, package: ModelPackage, folder: Path, stem: str) -> None:
    """The graph of a package, under another name."""
    found = package.graph_file(TRAINED[subject][1])
    for suffix in (".xml", ".bin"):
        shutil.copyfile(found.with_suffix(suffix), folder / f"{stem}{suffix}")


def inputs_of(subject: str, package: ModelPackage, head: Path, scratch: Path) -> tuple[FloatArray, list[FloatArray]]:
    """What the network sees of the head, and of the first heads that the recipe is calibrated on: (1, C, I, J, K)."""
    from brain_edge.evaluation.cohort import Split, load_cohort
    from brain_edge.evaluation.cohort.cases import load_case, study_for
    from brain_edge.jobs.case import read_study
    from brain_edge_conversion.budget.capture import capture_inputs, load_inputs
    from brain_edge_conversion.recipes import load_recipe

    recipe, graph = TRAINED[subject]
    cohort = load_recipe(recipe).cohort
    assert cohort is not None, f"{recipe} is calibrated on no cohort"
    cases = load_cohort(cohort).cases(Split.CALIBRATION)[:CALIBRATION_HEADS]
    seen: list[Study | Volume] = [read_study({package.spec.inputs[0].name: head})]
    seen += [study_for(load_case(case)[0], package.spec) for case in cases]
    kept = []
    for number, study in enumerate(seen):
        place = scratch / str(number)
        place.mkdir()
        files = capture_inputs(package, [study], place)[graph]
        kept.append(np.ascontiguousarray(next(load_inputs(files))))
    return kept[0], kept[1:]
