"""`brain-edge run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from brain_edge.cli.options import json_option, progress, quiet_option, runtime_options, threads_option
from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from brain_edge.package import ModelPackage
    from brain_edge.run import RunRecord


@click.command("run")
@click.argument("package")
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("-i", "--input", "more_inputs", multiple=True, metavar="INPUT", help="An input, as the argument.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Mask: .nii or .nii.gz.")
@click.option("--brain", type=click.Path(path_type=Path), help="Also write the image inside the mask.")
@click.option("--probabilities", type=click.Path(path_type=Path), help="Also write probabilities (float32, 4D).")
@click.option("--report", type=click.Path(path_type=Path), help="Also write a record (.json) or a picture (.png).")
@click.option("--border", default=0.0, metavar="MM", help="Widen the mask by this much, in mm.")
@click.option("--strict", is_flag=True, help="An implausible input or mask is an error; write nothing.")
@click.option("--expect-digest", metavar="SHA256", help="Refuse any other package than this one.")
@click.option("--allow-untrained", is_flag=True, help="Run a package with random weights (the mask is noise).")
@threads_option
@quiet_option
@json_option
def command(
    package: str,
    inputs: tuple[str, ...],
    more_inputs: tuple[str, ...],
    expect_digest: str | None,
    allow_untrained: bool,
    threads: int | None,
    quiet: bool,
    as_json: bool,
    **files: Any,
) -> None:
    """Segment a head: INPUT is .nii, .nii.gz or .mgz; T1=..., T2=... for a model of several sequences."""
    from brain_edge.package import open_package
    from brain_edge.run import Outputs, assign_inputs, run_case
    from brain_edge.segmenter import Segmenter

    given = [split_input(text) for text in (*inputs, *more_inputs)]
    if not given:
        raise UsageError("name at least one input image")
    opened = open_package(package, expect_digest)
    require_trained(opened, allow_untrained=allow_untrained)
    chosen = assign_inputs(given, opened.spec)
    segmenter = Segmenter.open(opened, runtime_options(threads))
    outputs = Outputs(mask=files.pop("output"), border_mm=files.pop("border"), **files)
    passes = sum(stage.network.passes for stage in opened.spec.stages)
    with progress(opened.spec.name, passes, quiet=quiet) as tick:
        record = run_case(opened, segmenter, chosen, outputs, tick)
    _print(record, as_json=as_json, quiet=quiet)


def split_input(text: str) -> tuple[str | None, Path]:
    """`T1=head.nii.gz` -> ("T1", path); a plain path, or one whose name holds "=", stays whole."""
    name, equals, rest = text.partition("=")
    if equals and name.isidentifier() and not Path(text).exists():
        return name, Path(rest)
    return None, Path(text)


def require_trained(package: ModelPackage, *, allow_untrained: bool) -> None:
    """Refuse random weights unless they were asked for.

    Raises:
        UsageError: the weights are random.
    """
    from brain_edge.package import WeightsStatus

    if package.manifest.weights_status is WeightsStatus.RANDOM and not allow_untrained:
        raise UsageError(
            f"{package.folder}: the weights of this package are random, its mask means nothing; "
            "say --allow-untrained if that is what you want"
        )


def _print(record: RunRecord, *, as_json: bool, quiet: bool) -> None:
    for flag in record.flags:
        click.echo(f"warning: {flag.message}", err=True)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(record), indent=2).decode())
        return
    if not quiet:
        volumes = ", ".join(f"{name} {volume:.1f} ml" for name, volume in record.volumes_ml.items())
        click.echo(f"{record.mask}: {volumes} ({record.elapsed_ms['total'] / 1000:.1f} s)")
