"""`brain-edge run`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from brain_edge.cli.batch import batch_options, print_summary, run_all, warn
from brain_edge.cli.failure import say
from brain_edge.cli.options import (
    PACKAGE_HELP,
    PATH,
    PREPARATION_FIELDS,
    cache_option,
    digest_option,
    gathered,
    memory_option,
    opened_package,
    preparation_options,
    print_json,
    progress,
    require_effect,
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
"""Values of `brain_edge.io.dicom.SegEncoding`, whose import takes too long for `--help`."""
SEG_ENCODING_HELP = "Encoding of a .dcm mask: binary (default), fractional or labelmap."


@dataclass(frozen=True)
class MaskOptions:
    """Options of a mask and its other outputs, as typed; `Outputs` explains each."""

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
    on: tuple[str, ...]

    def outputs(self) -> Outputs:
        """Return the files or folders to write.

        Raises:
            UsageError: the mask is not named.
        """
        from brain_edge.jobs.outputs import Outputs

        if self.mask is None:
            raise UsageError("expected an output, got none; give -o OUT (a mask) or --image OUT (a generator's image)")
        grids = tuple(dict.fromkeys(self.on))
        outputs = Outputs(
            mask=self.mask,
            brain=self.brain,
            probabilities=self.probabilities,
            report=self.report,
            picture=self.picture,
            border_mm=self.border_mm,
            strict=self.strict,
            on=next(iter(grids), None),
            also=tuple((name, self._beside(self.mask, name)) for name in grids[1:]),
        )
        if self.seg_encoding is None and not self.keep_empty_frames:
            return outputs
        from brain_edge.io.dicom import SegEncoding, SegOptions

        encoding = SegEncoding(self.seg_encoding or SegEncoding.BINARY)
        return replace(outputs, seg=SegOptions(encoding=encoding, omit_empty_frames=not self.keep_empty_frames))

    @staticmethod
    def _beside(mask: Path, name: str) -> Path:
        """Return the file of a further mask: `mask_FLAIR.nii.gz` beside `mask.nii.gz`; a batch has one folder."""
        suffix = next((end for end in (".nii.gz", ".nii", ".dcm") if mask.name.lower().endswith(end)), None)
        if suffix is None:
            return mask
        stem = mask.name[: len(mask.name) - len(suffix)]
        return mask.with_name(f"{stem}_{name}{mask.name[len(stem) :]}")

    def require_none(self) -> None:
        """Refuse options of a mask where an image is made.

        Raises:
            UsageError: an option was given.
        """
        spelt = {"mask": "-o", "border_mm": "--border"}
        given = [name for name, value in asdict(self).items() if value]
        require_effect([spelt.get(name, f"--{name.replace('_', '-')}") for name in given], "with --image")


@click.command("run", epilog=PACKAGE_HELP)
@click.argument("package", required=False, type=PATH)
@click.argument("inputs", nargs=-1, type=PATH, metavar="[INPUT]...")
@click.option(
    "-i", "--input", "more_inputs", multiple=True, type=PATH, metavar="INPUT", help="INPUT, given as an option."
)
@click.option("-o", "--output", "mask", type=FILE, metavar="OUT", help="Mask (.nii.gz, .nii, .dcm), or batch folder.")
@click.option("--image", type=FILE, metavar="OUT", help="Output image of a model that makes images (.nii.gz, .nii).")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), metavar="N", help="Seed, if images are made from noise.")
@click.option(
    "--series", multiple=True, metavar="[NAME=]UID", help="DICOM series, by UID or contrast (T1w, T1C, T2w, FLAIR)."
)
@click.option("--brain", type=FILE, metavar="OUT", help="Also write the image with 0 outside the mask.")
@click.option("--probabilities", type=FILE, metavar="OUT", help="Also write probabilities (float32, 4D).")
@click.option("--report", type=FILE, metavar="OUT", help="Also write a record (.json), picture (.png) or SR (.dcm).")
@click.option("--picture", type=FILE, metavar="OUT", help="Also write a picture (.png, or .dcm secondary capture).")
@click.option("--seg-encoding", type=click.Choice(SEG_ENCODINGS), metavar="HOW", help=SEG_ENCODING_HELP)
@click.option("--keep-empty-frames", is_flag=True, help="Also write the empty frames of a .dcm mask.")
@click.option("--border", "border_mm", default=0.0, metavar="MM", help="Grow the mask by MM mm; shrink it if negative.")
@click.option(
    "--strict", is_flag=True, help="Fail without a mask if the mask is implausible or the image has another contrast."
)
@click.option("--on", multiple=True, metavar="NAME", help="Grid of the mask: a sequence, or atlas; repeatable.")
@stage_zero_option
@preparation_options
@digest_option
@click.option("--allow-untrained", is_flag=True, help="Run a package with random weights (the mask is noise).")
@click.option("--cases", type=FILE, metavar="LIST", help="Table of the cases of a batch (.tsv), in place of INPUT.")
@batch_options
@threads_option
@memory_option
@cache_option
@telling_options
@gathered("asked", MaskOptions)
@runtime_from("threads", "stage_zero", "max_memory", "cache", *PREPARATION_FIELDS)
def command(
    package: str | None,
    inputs: tuple[str, ...],
    more_inputs: tuple[str, ...],
    image: Path | None,
    seed: int | None,
    asked: MaskOptions,
    expect_digest: str | None,
    allow_untrained: bool,
    cases: Path | None,
    choices: BatchChoices,
    runtime: RuntimeOptions,
    telling: Telling,
) -> None:
    """Segment a head with the model in PACKAGE. A file OUT that exists is overwritten.

    INPUT is an image (.nii, .nii.gz or .mgz) or DICOM (a folder, a zip or a file). A model of several sequences takes
    T1=..., T2=... and so on. `brain-edge info` lists the series in DICOM. The series of the model's contrast is taken,
    or the only series; if several fit, choose one with --series.

    A model with a preparation takes the sequences as they were scanned. brain-edge registers them, brings the reference
    to the atlas and removes the skull; what is done already stays. The mask lies on the grid of the reference, or of
    the sequence that --on names. With several --on, the first mask is OUT, and OUT_NAME.nii.gz has the grid of NAME.

    Batch: OUT is a folder, created if missing. Each INPUT is one case, or a folder of images; or --cases names a table
    with the columns case and image, or case, T1, T2 and so on. NAME.nii.gz becomes NAME_mask.nii.gz in OUT, beside
    NAME_record.json and summary.tsv. For several sequences, a folder holds NAME_T1.nii.gz, NAME_T2.nii.gz, or one
    folder per case. Masks in a folder (_mask, _brainmask, _seg or _dseg at the end of the name) are left out. The other
    outputs must be folders too; --report then writes pictures. A case is kept if it was finished with the same images,
    package and options. A failed case does not stop the others; the exit code is then 6, and the next run tries the
    case again.
    """
    from brain_edge.engine.prepares import require_preparation
    from brain_edge.engine.segmenter import Segmenter
    from brain_edge.engine.stage_zero import find_stage_zero
    from brain_edge.jobs.batch import names_folder, plan_single, prepare_batch
    from brain_edge.jobs.generate import require_generator, require_segmenter, reseeded
    from brain_edge.jobs.needs import require_stage_zero
    from brain_edge.jobs.outputs import require_apart

    given = [split_input(text) for text in (*inputs, *more_inputs)]
    if cases is not None and given:
        raise UsageError(f"expected inputs or --cases, got both; remove {given[0][1]} or --cases")
    if package is None and not given and cases is None:
        raise click.UsageError("expected an image, got none; call: brain-edge run PACKAGE head.nii.gz -o mask.nii.gz")
    if not given and cases is None:
        raise UsageError("expected at least one input image, got none; name it after the package or with -i")
    if image is not None:
        asked.require_none()
        idle = {"--stage-zero": runtime.stage_zero, "--cases": cases}
        require_effect([name for name, value in idle.items() if value is not None], "with --image")
        opened = opened_package(package, expect_digest)
        require_generator(opened)
        accept_weights(opened, allow_untrained=allow_untrained)
        segmenter = Segmenter.open(opened, runtime, spec=reseeded(opened.spec, seed))
        _run_generator(segmenter, given, image, telling)
        return
    outputs = asked.outputs()
    is_batch = names_folder(outputs.mask)
    given = _from_stores(given, outputs, choices, is_batch=is_batch)
    if not is_batch:
        choices.require_none(outputs.mask, cases)
    opened = opened_package(package, expect_digest)
    require_segmenter(opened, seed)
    accept_weights(opened, allow_untrained=allow_untrained)
    for path in outputs.paths():
        require_apart(path, opened.folder)
    require_preparation(opened.spec, runtime)
    find_stage_zero(opened, runtime.stage_zero)  # a missing package must not count as a failure of the first case
    series = [split_name(text) for text in asked.series]
    if not is_batch:
        job = plan_single(given, opened.spec, outputs, series)
        _announce(str(next(iter(job.inputs.values()))), opened, telling)
        _run_one(opened, job, runtime, telling)
        return
    batch = choices.batch(outputs.mask, is_listed=cases is not None)
    planned = prepare_batch(cases or given, opened.spec, outputs, batch, series, page=choices.page)
    require_stage_zero(opened, planned, runtime)
    _name_left_out(given)
    _announce(f"{len(planned)} case(s)", opened, telling)
    run_all(opened, planned, batch, replace(runtime, resident_graphs=2), telling, page=choices.page)


def _from_stores(
    given: list[NamedInput], outputs: Outputs, choices: BatchChoices, *, is_batch: bool
) -> list[NamedInput]:
    """Replace each folder of an object store by its images.

    Raises:
        UsageError: images or results in a store, where the run is no batch or has a page.
    """
    from brain_edge.machine.paths import in_store

    if not any(in_store(path) for path in (*(path for _, path in given), *outputs.paths())):
        return given
    if not is_batch:
        raise UsageError(f"expected a folder as OUT for an address of a store, got {outputs.mask}; name a folder")
    require_effect(["--page"] if choices.page else [], "with an address of a store")
    # found by its name: no command of a single workstation needs it
    found: list[NamedInput] = import_module("brain_edge.cluster.store").found_in_stores(given)
    return found


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
    """Refuse random weights unless allowed; warn about random weights and weights that were fit for testing.

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
        require_trained(package, "so its mask is noise; give --allow-untrained to run it")
    say(f"warning: the weights of {package.folder} are random; the mask is noise", err=True)


def _name_left_out(given: list[NamedInput]) -> None:
    """Print the masks in the folders of a batch, which are no cases."""
    from brain_edge.io.inputs import masks_in

    masks = [str(mask) for _, folder in given if folder.is_dir() for mask in masks_in(folder)]
    if masks:
        say(f"note: left out as masks by their names: {', '.join(masks)}", err=True)


def _announce(what: str, package: ModelPackage, telling: Telling) -> None:
    """Print what is run, and how often its networks run, where that is more than once."""
    from brain_edge.spec.plan import cost_in_words

    cost = cost_in_words(package.spec)
    if cost is not None and not telling.quiet:
        say(f"{what}: {package.spec.name}, {cost}", err=True)


def _run_one(package: ModelPackage, job: Job, runtime: RuntimeOptions, telling: Telling) -> None:
    from brain_edge.engine.segmenter import Segmenter
    from brain_edge.jobs.case import run_case
    from brain_edge.machine.atomic import remove_leftovers

    remove_leftovers(job.outputs.paths())
    segmenter = Segmenter.open(package, runtime)
    passes = sum(stage.network.passes for stage in package.spec.stages)
    label = f"{next(iter(job.inputs.values())).name}: {package.spec.name}"
    with progress(label, passes, quiet=telling.quiet) as bar:
        record = run_case(segmenter, job, bar.step)
    warn(record)
    if telling.as_json:
        print_json(record)
    elif not telling.quiet:
        print_summary(record)
