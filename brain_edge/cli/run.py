"""`brain-edge run`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from brain_edge.cli.batch import (
    BATCH_CHOICES,
    batch_options,
    make_batch,
    print_summary,
    require_all_done,
    require_no_choice,
    run_cases,
    warn,
    write_page,
)
from brain_edge.cli.options import (
    digest_option,
    json_option,
    machine_options,
    print_json,
    progress,
    runtime_options,
    split_input,
    split_named,
    stage_zero_option,
    threads_option,
)
from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from brain_edge.jobs.case import NamedInput
    from brain_edge.jobs.outputs import Outputs
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

    Asked: TypeAlias = tuple[list[NamedInput], Outputs, list[tuple[str | None, str]]]
    """Inputs, outputs and choices of DICOM series, as the command line names them."""

FILE = click.Path(path_type=Path)
SEG_ENCODINGS = ("binary", "fractional", "labelmap")
"""Those of `brain_edge.io.dicom.SegEncoding`, which takes too long to import for a `--help`."""
OF_A_MASK = (
    *("mask", "brain", "probabilities", "report", "picture", "series", "seg_encoding", "keep_empty_frames"),
    *("border_mm", "strict"),
)
"""Options that say something about a mask, by the name of their parameter."""
SEG_ENCODING_HELP = "How a .dcm mask is stored: binary (default), fractional or labelmap."


@click.command("run")
@click.argument("package")
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("-i", "--input", "more_inputs", multiple=True, metavar="INPUT", help="An input, as the argument.")
@click.option("-o", "--output", "mask", type=FILE, metavar="OUT", help="Mask (.nii.gz, .nii, .dcm) or folder.")
@click.option("--image", type=FILE, metavar="OUT", help="Of a generator: the image that it makes (.nii.gz, .nii).")
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
@stage_zero_option
@digest_option
@click.option("--allow-untrained", is_flag=True, help="Run a package with random weights (the mask is noise).")
@batch_options
@threads_option
@machine_options
@click.option("--quiet", "-q", is_flag=True, help="No progress, no summary; warnings, errors and --json stay.")
@json_option
def command(
    package: str,
    inputs: tuple[str, ...],
    more_inputs: tuple[str, ...],
    image: Path | None,
    expect_digest: str | None,
    allow_untrained: bool,
    **options: Any,
) -> None:
    """Segment a head with the model in the folder PACKAGE.

    INPUT is an image: .nii, .nii.gz or .mgz; T1=..., T2=... for a model of several sequences. Or it is DICOM: a
    folder, a zip or a file, in which `brain-edge info` lists the series. The series of the sequence's type is taken
    (for an input without one: the only series); nothing is guessed where several fit.

    Batch: where OUT is a folder (it is made if need be), each INPUT is a case, or a folder of such images, and
    NAME.nii.gz becomes NAME_mask.nii.gz in OUT, beside NAME_record.json and summary.tsv. For several sequences a
    folder holds NAME_T1.nii.gz, NAME_T2.nii.gz, or a folder per case. The other outputs must be folders then, too
    (--report: of pictures). Cases that are finished are kept: the same images, package and options. A case that
    fails does not stop the others; the exit code is 6 in the end, and the next run tries it again.
    """
    from brain_edge.engine.stage_zero import find_stage_zero
    from brain_edge.jobs.batch import names_folder
    from brain_edge.jobs.generate import require_segmenter
    from brain_edge.package import open_package

    given = [split_input(text) for text in (*inputs, *more_inputs)]
    if not given:
        raise UsageError("name at least one input image, after the package or with -i")
    _require_output(image, options)
    telling = {name: options.pop(name) for name in ("quiet", "as_json")}
    threads, series = options.pop("threads"), [split_named(text) for text in options.pop("series")]
    choices = {name: options.pop(name) for name in BATCH_CHOICES}
    runtime = runtime_options(threads)
    if image is not None:
        if runtime.stage_zero is not None:
            raise UsageError("there is --image: --stage-zero would do nothing; leave it out")
        _run_generator(package, given, image, (threads, expect_digest), allow_untrained=allow_untrained, **telling)
        return
    wanted = _outputs(**options)
    is_batch = names_folder(wanted.mask)
    if not is_batch:
        require_no_choice(choices, wanted.mask)
    opened = open_package(package, expect_digest)
    require_segmenter(opened)
    accept_weights(opened, allow_untrained=allow_untrained)
    _say_cost(opened, quiet=telling["quiet"])
    runtime = replace(runtime, resident_graphs=2 if is_batch else 1)
    find_stage_zero(opened, runtime.stage_zero)  # a missing one is no fault of the first case
    if is_batch:
        _run_batch(opened, runtime, (given, wanted, series), choices, **telling)
    else:
        _run_one(opened, runtime, (given, wanted, series), **telling)


def _require_output(image: Path | None, options: dict[str, Any]) -> None:
    """A mask or an image, and beside an image nothing that belongs to a mask.

    Raises:
        UsageError: neither or both, or an option that does nothing.
    """
    if image is None:
        if options["mask"] is None:
            raise UsageError("name the mask with -o OUT, or the image that a generator makes with --image OUT")
        return
    idle = [each.opts[0] for each in command.params if each.name in OF_A_MASK and options[each.name]]
    if idle:
        raise UsageError(f"there is --image: {', '.join(idle)} would do nothing; leave it out")


def _run_generator(
    package: str,
    given: list[NamedInput],
    image: Path,
    settings: tuple[int | None, str | None],
    *,
    allow_untrained: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make an image; `settings` are the threads and the digest that is expected."""
    from brain_edge.jobs.case import LoadedModel, assign_inputs
    from brain_edge.jobs.generate import generate, require_generator
    from brain_edge.package import open_package

    threads, expect_digest = settings
    opened = open_package(package, expect_digest)
    require_generator(opened)
    accept_weights(opened, allow_untrained=allow_untrained)
    model = LoadedModel.load(opened, runtime_options(threads))
    passes = sum(stage.network.passes for stage in opened.spec.stages)
    with progress(opened.spec.name, passes, quiet=quiet) as bar:
        record = generate(model, assign_inputs(given, opened.spec), image, bar.step)
    if as_json:
        print_json(record)
    elif not quiet:
        click.echo(f"{record.image}: synthetic image, {record.elapsed_ms / 1000:.1f} s")


def _outputs(*, seg_encoding: str | None, keep_empty_frames: bool, **outputs: Any) -> Outputs:
    from brain_edge.jobs.outputs import Outputs

    if seg_encoding is None and not keep_empty_frames:
        return Outputs(**outputs)
    from brain_edge.io.dicom import SegEncoding, SegOptions

    encoding = SegEncoding(seg_encoding or SegEncoding.BINARY)
    return Outputs(**outputs, seg=SegOptions(encoding=encoding, omit_empty_frames=not keep_empty_frames))


def _say_cost(package: ModelPackage, *, quiet: bool) -> None:
    """Of ensembles, mirrorings and cascades: how often networks run, before they do."""
    from brain_edge.spec.plan import cost_in_words

    cost = cost_in_words(package.spec)
    if cost is not None and not quiet:
        click.echo(cost, err=True)


def accept_weights(package: ModelPackage, *, allow_untrained: bool) -> None:
    """Refuse random weights unless they were asked for, and warn of them and of those that were fit for testing.

    Raises:
        WeightsError: the weights are random.
    """
    from brain_edge.package.trained import is_random, require_trained

    if package.manifest.mark:
        click.echo(f"warning: the weights of {package.folder} were {package.manifest.mark}", err=True)
    if not is_random(package):
        return
    if not allow_untrained:
        require_trained(package, "its mask means nothing; say --allow-untrained if that is what you want")
    click.echo(f"warning: the weights of {package.folder} are random; the mask means nothing", err=True)


def _run_one(package: ModelPackage, runtime: RuntimeOptions, asked: Asked, *, quiet: bool, as_json: bool) -> None:
    from brain_edge.jobs.batch import plan_single
    from brain_edge.jobs.case import LoadedModel, run_case

    given, outputs, series = asked
    job = plan_single(given, package.spec, outputs, series)
    model = LoadedModel.load(package, runtime)
    passes = sum(stage.network.passes for stage in package.spec.stages)
    with progress(package.spec.name, passes, quiet=quiet) as bar:
        record = run_case(model, job, bar.step)
    warn(record)
    if as_json:
        print_json(record)
    elif not quiet:
        print_summary(record)


def _run_batch(
    package: ModelPackage,
    runtime: RuntimeOptions,
    asked: Asked,
    choices: dict[str, Any],
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run all, say of each at once what became of it, and fail in the end if any has failed."""
    from brain_edge.jobs.batch import make_folders, plan_batch

    given, folders, series = asked
    has_page = choices.pop("page")
    if has_page and folders.picture is None:
        folders = replace(folders, picture=folders.mask)
    batch = make_batch(folders.mask, **choices)
    cases = plan_batch(given, package.spec, folders, series)
    make_folders(folders)
    results = run_cases(package, cases, batch, runtime, quiet=quiet, as_json=as_json)
    if has_page:
        write_page(batch.records, is_silent=quiet or as_json)
    require_all_done(results)
