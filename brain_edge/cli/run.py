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

    from brain_edge.batch import FailedCase, Job
    from brain_edge.cli.options import Progress
    from brain_edge.package import ModelPackage
    from brain_edge.run import LoadedModel
    from brain_edge.record import RunRecord

FILE = click.Path(path_type=Path)


@click.command("run")
@click.argument("package")
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("-i", "--input", "more_inputs", multiple=True, metavar="INPUT", help="An input, as the argument.")
@click.option("-o", "--output", "mask", required=True, type=FILE, metavar="OUT", help="Mask (.nii, .nii.gz) or folder.")
@click.option("--brain", type=FILE, metavar="OUT", help="Also write the image inside the mask.")
@click.option("--probabilities", type=FILE, metavar="OUT", help="Also write probabilities (float32, 4D).")
@click.option("--report", type=FILE, metavar="OUT", help="Also write a record (.json) or a picture (.png).")
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
    expect_digest: str | None,
    allow_untrained: bool,
    threads: int | None,
    quiet: bool,
    as_json: bool,
    **outputs: Any,
) -> None:
    """Segment a head with the model in the folder PACKAGE.

    INPUT is an image: .nii, .nii.gz or .mgz; T1=..., T2=... for a model of several sequences.

    Where OUT is a folder, each INPUT is a case of its own, or a folder of such images, and NAME.nii.gz becomes
    NAME_mask.nii.gz in OUT. The other outputs are folders then, too (--report: of pictures). A case that fails
    does not stop the others; the exit code is 6 in the end.
    """
    from brain_edge.batch import Job, names_folder, plan_batch
    from brain_edge.inputs import require_one_case
    from brain_edge.package import open_package
    from brain_edge.run import LoadedModel, Outputs, assign_inputs, require_outputs

    given = [split_input(text) for text in (*inputs, *more_inputs)]
    if not given:
        raise UsageError("name at least one input image")
    wanted = Outputs(**outputs)
    is_batch = names_folder(wanted.mask)
    options = runtime_options(threads, resident_graphs=2 if is_batch else 1)
    opened = open_package(package, expect_digest)
    require_trained(opened, allow_untrained=allow_untrained)
    if is_batch:
        jobs = plan_batch(given, opened.spec, wanted)
        _run_batch(LoadedModel.load(opened, options), jobs, quiet=quiet, as_json=as_json)
    else:
        ...
