"""`brain-edge run`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.cli.batch import batch_options, print_summary, run_all, warn
from brain_edge.cli.failure import say
from brain_edge.cli.options import (
    cache_option,
    digest_option,
    gathered,
    memory_option,
    print_json,
    progress,
    runtime_from,
    split_input,
    split_name,
    stage_zero_option,
    telling_options,
    threads_option,
)
from brain_edge.errors import UsageError

if TYPE_CHECKING:
    from brain_edge.cli.batch import BatchChoices
    from brain_edge.cli.options import Telling
    from brain_edge.engine.segmenter import WarmSegmenter
    from brain_edge.jobs.case import Job, NamedInput
    from brain_edge.jobs.outputs import Outputs
    from brain_edge.machine.options import RuntimeOptions
    from brain_edge.package import ModelPackage

FILE = click.Path(path_type=Path)
SEG_ENCODINGS = ("binary", "fractional", "labelmap")
"""Those of `brain_edge.io.dicom.SegEncoding`, which takes too long to import for a `--help`."""
SEG_ENCODING_HELP = "How a .dcm mask is stored: binary (default), fractional or labelmap."


@dataclass(frozen=True)
class MaskOptions:
    """What is written of a mask and how, as it was typed; `Outputs` says what each is."""

    mask: Path | None
    brain: Path | None
    probabilities: Path | None
    report: Path | None
    picture: Path | None
    series: tuple[str, ...]
    seg_encoding: str | None
    keep_empty_frames: bool
    border_mm: float
    strict: bool

    def outputs(self) -> Outputs:
        """The files or folders.

        Raises:
            UsageError: the mask is not named.
        """
        from brain_edge.jobs.outputs import Outputs

        if self.mask is None:
            raise UsageError("name the mask with -o OUT, or the image that a generator makes with --image OUT")
        outputs = Outputs(
            mask=self.mask,
            brain=self.brain,
            probabilities=self.probabilities,
            report=self.report,
            picture=self.picture,
            border_mm=self.border_mm,
            strict=self.strict,
        )
        if self.seg_encoding is None and not self.keep_empty_frames:
            return outputs
        from brain_edge.io.dicom import SegEncoding, SegOptions

        encoding = SegEncoding(self.seg_encoding or SegEncoding.BINARY)
        return replace(outputs, seg=SegOptions(encoding=encoding, omit_empty_frames=not self.keep_empty_frames))

    def require_none(self) -> None:
        """Refuse what says something about a mask where an image is made.

        Raises:
            UsageError: something was given.
        """
        spelt = {"mask": "-o", "border_mm": "--border"}
        given = [name for name, value in asdict(self).items() if value]
        if given:
            idle = ", ".join(spelt.get(name, f"--{name.replace('_', '-')}") for name in given)
            raise UsageError(f"there is --image: {idle} would do nothing; leave it out")


@click.command("run")
@click.argument("package")
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("-i", "--input", "more_inputs", multiple=True, metavar="INPUT", help="An input, as the argument.")
@click.option("-o", "--output", "mask", type=FILE, metavar="OUT", help="Mask (.nii.gz, .nii, .dcm) or folder.")
@click.option("--image", type=FILE, metavar="OUT", help="Of a generator: the image that it makes (.nii.gz, .nii).")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), metavar="N", help="Of a generator: seed of its noise.")
@click.option(
    "--series", multiple=True, metavar="[NAME=]UID", help="Which DICOM series; or its contrast: T1w, T1C, T2w, FLAIR."
)
@click.option("--brain", type=FILE, metavar="OUT", help="Also write the image inside the mask.")
@click.option("--probabilities", type=FILE, metavar="OUT", help="Also write probabilities (float32, 4D).")
@click.option("--report", type=FILE, metavar="OUT", help="Also write a record (.json), picture (.png) or SR (.dcm).")
@click.option("--picture", type=FILE, metavar="OUT", help="Also write a picture (.png; .dcm: secondary capture).")
@click.option("--seg-encoding", type=click.Choice(SEG_ENCODINGS), metavar="HOW", help=SEG_ENCODING_HELP)
@click.option("--keep-empty-frames", is_flag=True, help="Write the frames of a .dcm mask that are empty, too.")
@click.option("--border", "border_mm", default=0.0, metavar="MM", help="Widen the mask by this much, in mm.")
@click.option("--strict", is_flag=True, help="An implausible mask, or an image of another contrast, is an error.")
@stage_zero_option
@digest_option
@click.option("--allow-untrained", is_flag=True, help="Run a package with random weights (the mask is noise).")
@batch_options
@threads_option
@memory_option
@cache_option
@telling_options
@gathered("asked", MaskOptions)
@runtime_from("threads", "stage_zero", "max_memory", "cache")
def command(
    package: str,
    inputs: tuple[str, ...],
    more_inputs: tuple[str, ...],
    image: Path | None,
    seed: int | None,
    asked: MaskOptions,
    expect_digest: str | None,
    allow_untrained: bool,
    choices: BatchChoices,
    runtime: RuntimeOptions,
    telling: Telling,
) -> None:
    """Segment a head with the model in the folder PACKAGE.

    INPUT is an image: .nii, .nii.gz or .mgz; T1=..., T2=... for a model of several sequences. Or it is DICOM: a
    folder, a zip or a file, in which `brain-edge info` lists the series. The series of the model's contrast is taken,
    or the only series; nothing is guessed where several fit.

    Batch: where OUT is a folder (it is made if need be), each INPUT is a case, or a folder of such images, and
    NAME.nii.gz becomes NAME_mask.nii.gz in OUT, beside NAME_record.json and summary.tsv. For several sequences a
    folder holds NAME_T1.nii.gz, NAME_T2.nii.gz, or a folder per case. The other outputs must be folders then, too
    (--report: of pictures). Cases that are finished are kept: the same images, package and options. A case that
    fails does not stop the others; the exit code is 6 in the end, and the next run tries it again.
    """
    from brain_edge.engine.segmenter import Segmenter
    from brain_edge.engine.stage_zero import find_stage_zero
    from brain_edge.jobs.batch import names_folder, plan_batch, plan_single
    from brain_edge.jobs.generate import require_generator, require_segmenter, reseeded
    from brain_edge.jobs.outputs import require_apart
    from brain_edge.machine.atomic import make_folder
    from brain_edge.package import open_package
    from brain_edge.spec.plan import cost_in_words

    given = [split_input(text) for text in (*inputs, *more_inputs)]
    if not given:
        raise UsageError("name at least one input image, after the package or with -i")
    if image is not None:
        asked.require_none()
        if runtime.stage_zero is not None:
            raise UsageError("there is --image: --stage-zero would do nothing; leave it out")
        opened = open_package(package, expect_digest)
        require_generator(opened)
        accept_weights(opened, allow_untrained=allow_untrained)
        segmenter = Segmenter.open(opened, runtime, spec=reseeded(opened.spec, seed))
        _run_generator(segmenter, given, image, telling)
        return
    outputs = asked.outputs()
    is_batch = names_folder(outputs.mask)
    if not is_batch:
        choices.require_none(outputs.mask)
    opened = open_package(package, expect_digest)
    require_segmenter(opened, seed)
    accept_weights(opened, allow_untrained=allow_untrained)
    cost = cost_in_words(opened.spec)
    if cost is not None and not telling.quiet:
        say(cost, err=True)
    for path in outputs.paths():
        require_apart(path, opened.folder)
    find_stage_zero(opened, runtime.stage_zero)  # a missing one is no fault of the first case
    series = [split_name(text) for text in asked.series]
    if not is_batch:
        _run_one(opened, plan_single(given, opened.spec, outputs, series), runtime, telling)
        return
    if choices.page and outputs.picture is None:
        outputs = replace(outputs, picture=outputs.mask)
    batch = choices.batch(outputs.mask)
    cases = plan_batch(given, opened.spec, outputs, series)
    for path in outputs.paths():
        make_folder(path, parents=False)
    run_all(opened, cases, batch, replace(runtime, resident_graphs=2), telling, page=choices.page)


def _run_generator(segmenter: WarmSegmenter, given: list[NamedInput], image: Path, telling: Telling) -> None:
    from brain_edge.jobs.case import assign_inputs
    from brain_edge.jobs.generate import generate

    passes = sum(stage.network.passes for stage in segmenter.spec.stages)
    with progress(segmenter.spec.name, passes, quiet=telling.quiet) as bar:
        record = generate(segmenter, assign_inputs(given, segmenter.spec), image, bar.step)
    if telling.as_json:
        print_json(record)
    elif not telling.quiet:
        say(f"{record.image}: synthetic image, {record.elapsed_ms / 1000:.1f} s")


def accept_weights(package: ModelPackage, *, allow_untrained: bool) -> None:
    """Refuse random weights unless they were asked for, and warn of them and of those that were fit for testing.

    Raises:
        WeightsError: the weights are random.
    """
    from brain_edge.package.manifest import WeightsStatus
    from brain_edge.package.trained import require_trained

    if package.manifest.mark:
        say(f"warning: the weights of {package.folder} were {package.manifest.mark}", err=True)
    if package.manifest.weights_status is not WeightsStatus.RANDOM:
        return
    if not allow_untrained:
        require_trained(package, "its mask means nothing; say --allow-untrained if that is what you want")
    say(f"warning: the weights of {package.folder} are random; the mask means nothing", err=True)


def _run_one(package: ModelPackage, job: Job, runtime: RuntimeOptions, telling: Telling) -> None:
    from brain_edge.engine.segmenter import Segmenter
    from brain_edge.jobs.case import run_case

    segmenter = Segmenter.open(package, runtime)
    passes = sum(stage.network.passes for stage in package.spec.stages)
    with progress(package.spec.name, passes, quiet=telling.quiet) as bar:
        record = run_case(segmenter, job, bar.step)
    warn(record)
    if telling.as_json:
        print_json(record)
    elif not telling.quiet:
        print_summary(record)
