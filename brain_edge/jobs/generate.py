"""Run a model that makes images: files in, one image out, with a record of the run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from brain_edge import __version__
from brain_edge.errors import InputError, UsageError
from brain_edge.io.nifti import SUFFIXES, write_image, write_probabilities
from brain_edge.jobs.case import read_study
from brain_edge.jobs.outputs import require_apart
from brain_edge.jobs.record import printable, provenance
from brain_edge.machine.atomic import remove_leftovers, require_file_place
from brain_edge.machine.json import convert_plain
from brain_edge.machine.process import peak_rss_bytes
from brain_edge.spec import NoiseSlices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from brain_edge.engine.segmenter import Segmenter, WarmSegmenter
    from brain_edge.image.volume import Study, Volume
    from brain_edge.package import ModelPackage
    from brain_edge.spec import ModelSpec

SYNTHETIC: Final = "synthetic"
"""First word in the description of every image that a model has made."""


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Record of one image that was made.

    Attributes:
        model, digest, weights_status, intended_use: facts about the package.
        inputs: file per sequence, as the user named it.
        image: file that was written.
        channels: number of channels of the image; the file is 4D with several.
        synthetic: always true, because the image shows no patient.
        seed: seed of the noise that the images are made from; None for images that need no noise.
        threads: number of inference threads.
        elapsed_ms: time to read, make and write the image.
        peak_rss_bytes: peak memory of this process so far.
    """

    model: str
    digest: str
    weights_status: str
    intended_use: str
    inputs: dict[str, str]
    image: str
    channels: int
    synthetic: bool
    seed: int | None
    threads: int
    elapsed_ms: float
    peak_rss_bytes: int | None
    brain_edge: str = __version__


def generate(
    segmenter: WarmSegmenter, inputs: Mapping[str, Path], image: Path, tick: Callable[[], None] | None = None
) -> ImageRecord:
    """Read, make and write one image on the grid of the input.

    Args:
        segmenter: the opened package of the generator.
        inputs: path per sequence.
        image: output, `.nii` or `.nii.gz`; written completely or not at all.
        tick: function called after each pass of a network.

    Raises:
        InputError: an input is refused.
        OutputError: the image cannot be written.
        UsageError: the model makes masks, or the output conflicts with an input.
    """
    start = time.perf_counter()
    package = segmenter.package
    require_generator(package)
    _require_output(image, (*inputs.values(), package.folder))
    study = read_study(inputs)
    made = _made(segmenter, study, tick)
    description = f"{SYNTHETIC} {provenance(package)}"
    if len(made) == 1:
        write_image(made[0], image, description)
    else:
        reference = study.volumes[study.reference]
        write_probabilities(np.stack([volume.voxels for volume in made]), reference, image, description)
    return ImageRecord(
        model=package.spec.name,
        digest=package.digest,
        weights_status=package.manifest.weights_status,
        intended_use=package.manifest.intended_use,
        inputs={name: printable(path) for name, path in inputs.items()},
        image=printable(image),
        channels=len(made),
        synthetic=True,
        seed=next((noise.seed for noise in _noises(segmenter.spec)), None),
        threads=segmenter.threads,
        elapsed_ms=(time.perf_counter() - start) * 1000,
        peak_rss_bytes=peak_rss_bytes(),
    )


def reseeded(spec: ModelSpec, seed: int | None) -> ModelSpec:
    """Return the specification of a generator with noise of another seed; its own where the seed is None.

    Raises:
        UsageError: the generator draws no noise.
    """
    if seed is None:
        return spec
    if not any(_noises(spec)):
        raise UsageError(f"{spec.name} makes images without noise, so --seed has no effect; remove it")
    plain = msgspec.to_builtins(spec)
    for stage in plain["stages"]:
        if "seed" in stage["network"]["execution"]:
            stage["network"]["execution"]["seed"] = seed
    return convert_plain(plain, type(spec))


def _noises(spec: ModelSpec) -> Iterator[NoiseSlices]:
    kinds = (stage.network.execution for stage in spec.stages)
    return (kind for kind in kinds if isinstance(kind, NoiseSlices))


def require_generator(
    package: ModelPackage, option: str = "--image", remedy: str = "name the mask with -o, or use a generator"
) -> None:
    """Refuse to make an image with a model that segments.

    Args:
        package: package that is to make the image.
        option: option that asks for the image.
        remedy: next step for the user.

    Raises:
        UsageError: the model makes masks.
    """
    if not package.spec.makes_images:
        raise UsageError(
            f"{package.folder}: {option} needs a model that makes images, and {package.spec.name} makes masks; {remedy}"
        )


def require_segmenter(package: ModelPackage, seed: int | None = None) -> None:
    """Refuse to make a mask with a model that makes images, or with a seed.

    Raises:
        UsageError: the model makes images, or there is a seed.
    """
    if seed is not None:
        raise UsageError("--seed has no effect on a mask; remove it, or write an image with --image")
    if package.spec.makes_images:
        raise UsageError(
            f"{package.folder}: -o needs a model that makes masks, and {package.spec.name} makes images; name the "
            "image with --image, or use a model that segments"
        )


def _made(segmenter: Segmenter, study: Study, tick: Callable[[], None] | None) -> tuple[Volume, ...]:
    try:
        return segmenter.synthesize(study, tick=tick)
    except InputError as error:
        # a step knows its voxels, not their file
        raise InputError(f"{study.volumes[study.reference].name}: {error}") from error


def _require_output(image: Path, sources: Iterable[Path]) -> None:
    if not image.name.lower().endswith(SUFFIXES):
        raise UsageError(f"{image}: expected an image file that ends in {' or '.join(SUFFIXES)}")
    for source in sources:
        require_apart(image, source)
    require_file_place(image)
    remove_leftovers([image])
