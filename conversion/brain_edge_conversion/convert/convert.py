"""convert: turn a model source into a package that reproduces PyTorch, or refuse it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brain_edge.package import ModelPackage
from brain_edge_conversion.convert.build import build
from brain_edge_conversion.convert.compare import compare
from brain_edge_conversion.convert.draft import ConvertOptions, Order
from brain_edge_conversion.convert.parity import require_parity
from brain_edge_conversion.convert.probe import probe
from brain_edge_conversion.convert.report import account_for
from brain_edge_conversion.convert.rewrite import rewrite
from brain_edge_conversion.convert.save import save
from brain_edge_conversion.convert.seal import seal
from brain_edge_conversion.convert.self_test import self_test
from brain_edge_conversion.convert.trace import trace
from brain_edge_conversion.sealing.place import package_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from brain_edge.image.volume import Study
    from brain_edge_conversion.recipe import ModelSource

__all__ = ["ConvertOptions", "convert"]


def convert(
    source: ModelSource,
    weights: Mapping[str, Path | None],
    study: Study,
    target: Path,
    options: ConvertOptions,
) -> ModelPackage:
    """Build, probe, rewrite, trace, save, compare, self-test, seal: each stage turns one frozen draft into the next.

    Args:
        source: model to convert.
        weights: weights file of each graph; None for random weights (then for all graphs).
        study: images of a real head for the parity check.
        target: folder of the package; it appears complete or not at all.
        options: conversion options.

    Raises:
        ParityError: OpenVINO does not reproduce PyTorch; nothing is written.
        WeightsError: a weights file is refused.
    """
    with package_folder(target, overwrite=options.overwrite) as folder:
        built = build(Order(source=source, weights=weights, study=study, folder=folder, options=options))
        probed = probe(built)
        rewritten = rewrite(probed)
        traced = trace(rewritten)
        saved = save(traced)
        del rewritten, traced  # the weights of all graphs, twice
        compared = compare(saved)
        account_for(compared)  # also where it is refused
        require_parity(compared.findings)
        tested = self_test(compared)
        sealed = seal(tested)
    return ModelPackage(target, sealed.manifest)
