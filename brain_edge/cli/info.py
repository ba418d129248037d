"""`brain-edge info`."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.cli.failure import say
from brain_edge.cli.options import PACKAGE_HELP, PATH, json_option, opened_package, print_json
from brain_edge.errors import BrainEdgeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.io.dicom import SeriesInfo
    from brain_edge.package import ModelPackage


@click.command("info", epilog=PACKAGE_HELP)
@click.argument("place", required=False, type=PATH, metavar="[PACKAGE|DICOM]")
@json_option
def command(place: str | None, as_json: bool) -> None:
    """Show a package: model, steps, licence, accuracy, digest. Every file is checked first.

    For DICOM (a folder, a zip or a file), list its series, the contrast of each, and why a series cannot be used.
    """
    from brain_edge.io.inputs import is_dicom

    if place is not None and not Path(place, "manifest.json").is_file() and is_dicom(Path(place)):
        from brain_edge.io.dicom import list_series

        listed = list_series(place)
        shown: object = [info.record() for info in listed]
        rows: Iterator[tuple[str, str]] = chain.from_iterable(map(_series_rows, listed))
    else:
        opened = opened_package(place)
        shown = {"digest": opened.digest, "size_bytes": opened.size_bytes, "manifest": opened.manifest}
        rows = _rows(opened)
    if as_json:
        print_json(shown)
        return
    for name, value in rows:
        say(f"{name:<12} {value}")


def _series_rows(info: SeriesInfo) -> Iterator[tuple[str, str]]:
    yield "series", f"{'without number' if info.number is None else info.number}: {info.description}".rstrip(": ")
    yield "  uid", info.uid
    yield "  kind", f"{info.kind}, {info.modality}"
    yield "  contrast", str(info.finding)
    yield "  slices", str(info.slices)
    if info.geometry is not None:
        yield "  grid", str(info.geometry)
    if info.problem:
        yield "  problem", info.problem
    for note in info.notes:
        yield "  note", note


def _permissions(package: ModelPackage) -> Iterator[tuple[str, str]]:
    """Yield what the package may do, and what is missing for the rest."""
    from brain_edge.io.dicom.algorithm import algorithm_of

    if package.spec.makes_images:
        return
    is_random = package.manifest.weights_status == "random"
    yield "may", "measure speed and memory; run with --allow-untrained" if is_random else "write NIfTI masks"
    try:
        algorithm_of(package)
    except BrainEdgeError as error:
        yield "may not", f"write DICOM: {str(error).removeprefix(f'{package.folder}: ')}"
    else:
        yield "", "write DICOM (SEG, SR, secondary capture)"


def _rows(package: ModelPackage) -> Iterator[tuple[str, str]]:
    from brain_edge.spec.plan import cost_in_words

    manifest, spec = package.manifest, package.spec
    yield "model", f"{spec.name} ({spec.task})"
    yield "numbers", f"{manifest.number_format}, computed in {manifest.precision} where not integer"
    yield "weights", manifest.mark or str(manifest.weights_status)
    yield "inputs", ", ".join(map(str, spec.inputs))
    if manifest.spec.preparation:
        first, *others = manifest.spec.preparation.sentences()
        yield "preparation", first
        yield from (("", words) for words in others)
    if manifest.stage_zero:
        yield "stage 0", f"{manifest.stage_zero.name}, run on {manifest.stage_zero.sequence}"
        yield "", f"digest {manifest.stage_zero.digest}"
    yield "labels", ", ".join(f"{value} {name}" for value, name in spec.label_names().items())
    for stage in spec.stages:
        yield "stage", f"{stage.name}: {', '.join(type(step).__name__ for step in stage.before)}"
        yield "", f"networks {', '.join(stage.network.graphs)}, {stage.network.passes} pass(es)"
        yield "", ", ".join(type(step).__name__ for step in stage.after)
    if cost := cost_in_words(spec):
        yield "cost", cost
    yield "licence", f"{manifest.licence.name}, {manifest.licence.holder} {manifest.licence.notes}".rstrip()
    if manifest.parity is not None:
        made_of = f"of FP32 {manifest.converted_from[:16]}..., " if manifest.converted_from else ""
        yield "parity", f"{made_of}masks of PyTorch against OpenVINO: {manifest.parity.masks_in_words}"
    if manifest.expected:
        yield "expected", f"mask of another program: {manifest.expected.in_words}"
    if manifest.found is not None:
        yield manifest.found.change, "; ".join(manifest.found.changes)
        yield "accuracy", manifest.found.statement
        yield "within", manifest.found.bounds
    yield from _permissions(package)
    yield "size", f"{package.size_bytes / 2**20:.1f} MiB"
    yield "use", manifest.intended_use
    yield "digest", package.digest
