"""`brain-edge info`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brain_edge.cli.options import find_package, json_option, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from brain_edge.package import ModelPackage


@click.command("info")
@click.argument("package", required=False)
@json_option
def command(package: str | None, as_json: bool) -> None:
    """What a package is: model, steps, licence, accuracy, digest. Every file is checked on the way."""
    from brain_edge.package import open_package

    opened = open_package(find_package(package))
    if as_json:
        whole = {"digest": opened.digest, "size_bytes": opened.size_bytes, "manifest": opened.manifest}
        print_json(whole)
        return
    for name, value in _rows(opened):
        click.echo(f"{name:<12} {value}")


def _rows(package: ModelPackage) -> Iterator[tuple[str, str]]:
    manifest, spec = package.manifest, package.spec
    yield "model", f"{spec.name} ({spec.task})"
    yield "numbers", f"{manifest.number_format}, computed in {manifest.precision} where not integer"
    yield "weights", str(manifest.weights_status)
    yield "inputs", ", ".join(sequence.name for sequence in spec.inputs)
    yield "labels", ", ".join(f"{value} {name}" for value, name in spec.label_names().items())
    for stage in spec.stages:
        yield "stage", f"{stage.name}: {', '.join(type(step).__name__ for step in stage.before)}"
        yield "", f"networks {', '.join(stage.network.graphs)}, {stage.network.passes} pass(es)"
        yield "", ", ".join(type(step).__name__ for step in stage.after)
    yield "licence", f"{manifest.licence.name}, {manifest.licence.holder} {manifest.licence.notes}".rstrip()
    if manifest.parity is not None:
        yield "parity", f"masks of PyTorch and OpenVINO agree at Dice {manifest.parity.mask_dice:.5f}"
    if manifest.accuracy is not None:
        yield "accuracy", manifest.accuracy.statement
    yield "size", f"{package.size_bytes / 2**20:.1f} MiB"
    yield "use", manifest.intended_use
    yield "digest", package.digest
