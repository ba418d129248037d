"""`brain-edge run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brain_edge.cli import failure
from brain_edge.cli.options import (
    digest_option,
    json_option,
    print_json,
    progress,
    runtime_options,
    split_input,
    threads_option,
)
from brain_edge.errors import BatchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brain_edge.batch import FailedCase
    from brain_edge.outputs import Outputs
    from brain_edge.package import ModelPackage
    from brain_edge.record import RunRecord
    from brain_edge.run import Job, LoadedModel

FILE = click.Path(path_type=Path)
SEG_ENCODINGS = ("binary", "fractional", "labelmap")
"""Those of `brain_edge.io.dicom.SegEncoding`, which takes too long to import for a `--help`."""
SEG_ENCODING_HELP = "How a .dcm mask is stored: binary (default), fractional or labelmap."


@click.command("run")
@click.argument("package")
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("-i", "--input", "more_inputs", multiple=True, metavar="INPUT", help="An input, as the argument.")
@click.option(
    "-o", "--output", "mask", required=True, type=FILE, metavar="OUT", help="Mask (.nii.gz, .nii, .dcm) or folder."
)
@click.option(
    "--series", multiple=True, metavar="[NAME=]UID", help="Which DICOM series; or by type: T1, T1C, T2, FLAIR."
)
@click.option("--brain", type=FILE, metavar="OUT", help="Also write the image inside the mask.")
@click.option("--probabilities", type=FILE, metavar="OUT", help="Also write probabilities (float32, 4D).")
@click.option("--report", type=FILE, metavar="OUT", help="Also write a record (.json), picture (.png) or SR (.dcm).")
@click.option("--picture", type=FILE, metavar="OUT", help="Also write a picture (.png; .dcm: secondary capture).")
@click.option("--seg-encoding", type=click.Choice(SEG_ENCODINGS), metavar="HOW", help=SEG_ENCODING_HELP)
@click.option("--keep-empty-frames", is_flag=True, help="Write the frames of a .dcm mask that are empty, too.")
@click.option("--border", "border_mm", default=0.0, metavar="MM", help="Widen the mask by this much, in mm.")
@click.option("--strict", is_flag=True, help="An implausible input or mask is an error; write nothing.")
@digest_option
@click.option("--allow-untrained", is_flag=True, help="Run a package with random weights (the mask is noise).")
@threads_option
@click.option("--quiet", "-q", is_flag=True, help="No progress, no summary; warnings, errors and --json stay.")
@json_option
def command(
    package: str,
    inputs: tuple[str, ...],
    more_inputs: tuple[str, ...],
    series: tuple[str, ...],
    expect_digest: str | None,
    allow_untrained: bool,
    threads: int | None,
    quiet: bool,
    as_json: bool,
    **outputs: Any,
) -> None:
    """Segment a head with the model in the folder PACKAGE.

    INPUT is an image: .nii, .nii.gz or .mgz; T1=..., T2=... for a model of several sequences. Or it is DICOM: a
    folder, a zip or a file, in which `brain-edge info` lists the series. The series of the sequence's type is taken
    (for an input without one: the only series); nothing is guessed where several fit.

    Batch: where OUT is a folder, each INPUT is a case of its own, or a folder of such images, and NAME.nii.gz
    becomes NAME_mask.nii.gz in OUT. The other outputs must be folders then, too (--report: of pictures). A case
    that fails does not stop the others; the exit code is 6 in the end.
    """
    from brain_edge.batch import names_folder, plan
    from brain_edge.package import open_package
    from brain_edge.run import LoadedModel

    given = [split_input(text) for text in (*inputs, *more_inputs)]
    if not given:
        raise UsageError("name at least one input image, after the package or with -i")
    wanted = _outputs(**outputs)
    is_batch = names_folder(wanted.mask)
    options = runtime_options(threads, resident_graphs=2 if is_batch else 1)
    opened = open_package(package, expect_digest)
    require_trained(opened, allow_untrained=allow_untrained)
    jobs = plan(given, opened.spec, wanted, [_split_series(text) for text in series])
    model = LoadedModel.load(opened, options)
    if is_batch:
        _run_many(model, jobs, quiet=quiet, as_json=as_json)
    else:
        _run_one(model, jobs[0], quiet=quiet, as_json=as_json)


def _outputs(*, seg_encoding: str | None, keep_empty_frames: bool, **outputs: Any) -> Outputs:
    from brain_edge.outputs import Outputs

    if seg_encoding is None and not keep_empty_frames:
        return Outputs(**outputs)
    from brain_edge.io.dicom import SegEncoding, SegOptions

    encoding = SegEncoding(seg_encoding or SegEncoding.BINARY)
    return Outputs(**outputs, seg=SegOptions(encoding=encoding, omit_empty_frames=not keep_empty_frames))


def _split_series(text: str) -> tuple[str | None, str]:
    """`T1=1.2.3` -> ("T1", "1.2.3")."""
    name, _, series = text.rpartition("=")
    return name or None, series


def require_trained(package: ModelPackage, *, allow_untrained: bool) -> None:
    """Refuse random weights unless they were asked for, and warn where they were.

    Raises:
        UsageError: the weights are random.
    """
    from brain_edge.package import WeightsStatus

    if package.manifest.weights_status is not WeightsStatus.RANDOM:
        return
    if not allow_untrained:
        raise UsageError(
            f"{package.folder}: the weights of this package are random, its mask means nothing; "
            "say --allow-untrained if that is what you want"
        )
    click.echo(f"warning: the weights of {package.folder} are random; the mask means nothing", err=True)


def _run_one(model: LoadedModel, job: Job, *, quiet: bool, as_json: bool) -> None:
    from brain_edge.run import run_case

    passes = sum(stage.network.passes for stage in model.package.spec.stages)
    with progress(model.package.spec.name, passes, quiet=quiet) as bar:
        record = run_case(model, job, bar.step)
    _warn(record)
    if as_json:
        print_json(record)
    elif not quiet:
        _print_summary(record)


def _run_many(model: LoadedModel, jobs: Sequence[Job], *, quiet: bool, as_json: bool) -> None:
    """Run all, say of each at once what became of it, and fail in the end if any has failed."""
    from brain_edge.batch import FailedCase, run_batch

    results = []
    with progress(model.package.spec.name, len(jobs), quiet=quiet) as bar:
        for result in run_batch(model, jobs):
            bar.clear()
            _tell(result, is_silent=quiet or as_json)
            bar.step()
            results.append(result)
    if as_json:
        print_json([_as_json(result) for result in results])
    failed = [_image(result) for result in results if isinstance(result, FailedCase)]
    if failed:
        raise BatchError(f"{len(failed)} of {len(results)} cases failed, the reasons stand above: {', '.join(failed)}")


def _tell(result: RunRecord | FailedCase, *, is_silent: bool) -> None:
    from brain_edge.batch import FailedCase

    if isinstance(result, FailedCase):
        failure.show(result.error, about=_image(result))
        return
    _warn(result)
    if not is_silent:
        _print_summary(result)


def _warn(record: RunRecord) -> None:
    for flag in record.flags:
        click.echo(f"warning: {next(iter(record.inputs.values()))}: {flag.message}", err=True)
    for name, series in record.series.items():
        for note in series.notes:
            click.echo(f"warning: {record.inputs[name]}: {series.name}: {note}", err=True)


def _print_summary(record: RunRecord) -> None:
    volumes = ", ".join(f"{name} {volume:.1f} ml" for name, volume in record.volumes_ml.items())
    origin = "".join(f", {name} is {series.name}" for name, series in record.series.items())
    click.echo(f"{record.mask}: {volumes} ({record.elapsed_ms['total'] / 1000:.1f} s){origin}")


def _as_json(result: RunRecord | FailedCase) -> Any:
    from brain_edge.batch import FailedCase

    if not isinstance(result, FailedCase):
        return result
    inputs = {name: str(path) for name, path in result.inputs.items()}
    return {"inputs": inputs, "error": str(result.error), "exit_code": failure.exit_code(result.error)}


def _image(failed: FailedCase) -> str:
    return str(next(iter(failed.inputs.values())))
