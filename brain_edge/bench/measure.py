"""Measure a package on this machine through `Segmenter` and, on request, layer by layer."""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from brain_edge.bench.counted import Input, counted
from brain_edge.bench.profile import measured_peaks, package_layers
from brain_edge.bench.record import BenchRecord, Profile
from brain_edge.bench.timed import study_of, time_configurations
from brain_edge.bench.written import watched
from brain_edge.engine.segmenter import Segmenter
from brain_edge.engine.stage_zero import with_stage_zero
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.description import this_machine
from brain_edge.machine.options import RuntimeOptions
from brain_edge.package import NumberFormat, Precision
from brain_edge.package.digest import sha256_of
from brain_edge.runtime.session import cpu_capabilities, precision_here

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from brain_edge.package import ModelPackage

LIBRARIES: Final = ("brain-edge", "openvino", "numpy", "scipy", "nibabel")


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """Options of a measurement.

    Attributes:
        threads: number of threads; None measures one thread up to all physical cores.
        rounds: number of processes per configuration.
        profile: also measure the layers of the networks.
        report: function that receives progress, one line at a time.
        stage_zero: folder of the stage-0 package; None looks beside the package.
    """

    threads: int | None = None
    rounds: int = 5
    profile: bool = False
    report: Callable[[str], None] = field(default=lambda _line: None)
    stage_zero: Path | None = None


def bench(package: ModelPackage, images: Mapping[str, Path], options: BenchOptions) -> BenchRecord:
    """Measure a package.

    Args:
        package: package with any weights, because speed does not depend on them.
        images: file per sequence; empty for the phantom of the self-test.
        options: threads, rounds, profile, progress, stage 0.

    Raises:
        InputError: an image is refused.
        UsageError: a sequence is missing, or the variable that limits the instruction set has an unknown value.
        BrainEdgeError: a process failed.
    """
    machine = this_machine()
    study = study_of(package, images)
    choices = configurations(package, options.threads, cpu_capabilities())
    # the speed of the networks is asked, which does not depend on how a study came to be
    given = RuntimeOptions(threads=options.threads, stage_zero=options.stage_zero, as_they_are=True)
    runtime = with_stage_zero(package, given)
    timed = time_configurations(package, images, choices, options.rounds, options.report, runtime)
    profile = None
    if options.profile:
        options.report("layer by layer")
        profile = profile_case(package, images, replace(runtime, threads=options.threads or default_threads()))
    return BenchRecord(
        model=package.spec.name,
        digest=package.digest,
        number_format=str(package.manifest.number_format),
        weights_status=str(package.manifest.weights_status),
        images=tuple(sha256_of(path) for path in images.values() if path.is_file()),
        shape=study.geometry.shape,
        spacing_mm=(study.geometry.spacing_mm[0], study.geometry.spacing_mm[1], study.geometry.spacing_mm[2]),
        machine=machine,
        versions={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        configurations=timed,
        profile=profile,
    )


def configurations(
    package: ModelPackage, threads: int | None, capabilities: Sequence[str]
) -> tuple[tuple[int, Precision], ...]:
    """Return the threads and precisions to measure, the package's precision first; bf16 only if native to the CPU."""
    pinned = package.manifest.precision
    natively = [Precision.F32, *([Precision.BF16] if "BF16" in capabilities else [])]
    allowed = [pinned if pinned in natively else Precision.F32]
    if package.manifest.number_format is NumberFormat.FP32:
        allowed += [each for each in natively if each not in allowed]
    counts = [threads] if threads is not None else list(range(1, default_threads() + 1))
    return tuple((count, precision) for precision in allowed for count in counts)


def profile_case(package: ModelPackage, images: Mapping[str, Path], options: RuntimeOptions) -> Profile:
    """Measure the layers of all networks and the bytes of all steps for one case, in the precision of the run."""
    count = Counter[Input]()
    segmenter = Segmenter.open(package, options, wrap=counted(count))
    study = study_of(package, images)
    segmenter.run(study)
    seen_once = Counter(count)
    with watched() as watch:  # again, because the first case also imports modules
        segmenter.run(study_of(package, images))
    found = (package_layers(package, options, seen.graph, seen.shape, times) for seen, times in seen_once.items())
    layers = [layer for of_one in found for layer in of_one]
    weighted = sorted({layer.numbers for layer in layers if layer.multiply_adds})
    return Profile(
        threads=options.threads or default_threads(),
        precision=str(precision_here(package.manifest.precision)),
        peaks=measured_peaks(options, weighted),
        layers=tuple(layers),
        written=watch.steps(study.geometry.shape),
    )
