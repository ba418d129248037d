"""How well sequences are registered, by known movements and published images, and what the judge refuses.

    python -m benchmarks registration FOLDER --movements 200

FOLDER is `mri` in the one of `BRAIN_EDGE_DATA`. Prints Markdown: errors at the corners of the brain, verdicts of the
judge, and correlations with published images. The movements have a seed; the first N of 200 are the N of `--movements`.
They are also written as a record.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec
import numpy as np

from benchmarks.harness.record import write_record
from brain_edge.evaluation.markdown import markdown_table
from brain_edge.image.geometry import Geometry
from brain_edge.image.volume import Mask, Volume
from brain_edge.io.nifti import read_numbers, read_volume
from brain_edge.registration.judgement import Judgement, Verdict, judge
from brain_edge.registration.library import without_bias
from brain_edge.registration.nearby import brain_corners, movement
from brain_edge.registration.refine import refined
from brain_edge.registration.register import register
from brain_edge.registration.rigid import Rigid
from brain_edge.registration.through import resample_through
from brain_edge.registration.working import centre_mm

if TYPE_CHECKING:
    from collections.abc import Iterator

CROSS: Final = "ms_cross/patient07"
GLIOMA: Final = "tcga_fg_6692"
LONG: Final = "ms_longitudinal"
STRIPPED: Final = f"{GLIOMA}/skull_stripped/OtherEXampleFromTCIA"
PAIRS: Final = (
    (f"{CROSS}/T1", f"{CROSS}/FLAIR"),
    (f"{CROSS}/T1", f"{CROSS}/T1"),
    (f"{STRIPPED}_t1c_bet", f"{STRIPPED}_fla_bet"),
    (f"{LONG}/patient01/study1_FLAIR", f"{LONG}/patient01/study1_FLAIR"),
    (f"{CROSS}/T1", f"{CROSS}/T2"),
    (f"{STRIPPED}_t1c_bet", f"{STRIPPED}_t1c_bet"),
    (f"{STRIPPED}_t1c_bet", f"{STRIPPED}_t2_bet"),
    (f"{LONG}/patient04/study1_T1W", f"{LONG}/patient04/study1_T1W"),
)
"""Fixed and moving images that lie over each other; twice the same name is a sequence against its own moved copy."""
ONE_PERSON: Final = (
    *(
        (f"{LONG}/patient0{who}/study1_T1W", f"{LONG}/patient0{who}/study1_{other}")
        for who in (1, 4)
        for other in ("T2W", "FLAIR")
    ),
    (f"{LONG}/patient01/study1_T1W", f"{LONG}/patient01/study2_T1W"),
    (f"{LONG}/patient03/study1_FLAIR", f"{LONG}/patient03/study1_T2W"),
)
TWO_PEOPLE: Final = (
    (f"{CROSS}/T1", f"{STRIPPED}_t1_bet"),
    (f"{CROSS}/T1", f"{STRIPPED}_fla_bet"),
    (f"{LONG}/patient01/study1_T1W", f"{LONG}/patient04/study1_T1W"),
    (f"{LONG}/patient01/study1_T1W", f"{LONG}/patient03/study1_FLAIR"),
    (f"{LONG}/patient04/study1_T1W", f"{LONG}/patient09/study2_FLAIR"),
)
MIRRORED: Final = (PAIRS[0], PAIRS[1], PAIRS[2], ONE_PERSON[0], ONE_PERSON[3])
SEQUENCES: Final = ("t1c", "t1", "t2", "fla")
"""Sequences of the glioma as its files call them; the others are registered to the first."""
MOST_MM: Final = 20.0
MOST_DEG: Final = 20.0
GOOD_MM: Final = 3.0
"""Greatest error of a registration that counts as good, mm."""
NOISE: Final = 0.02
"""Standard deviation of the noise in a moved copy, as a share of its 99th percentile."""


class Moved(msgspec.Struct, frozen=True):
    """What a registration made of one known movement."""

    number: int
    same_contrast: bool
    error_mm: float
    slice_mm: float
    judgement: Judgement


def folder_of_heads(_context: click.Context, parameter: click.Parameter, value: Path) -> Path:
    """Refuse a folder without the glioma, for FOLDER of a benchmark."""
    if not (value / GLIOMA).is_dir():
        raise click.BadParameter(f"{value}: expected `mri` in the folder of BRAIN_EDGE_DATA", param=parameter)
    return value


@dataclass(frozen=True, eq=False)
class Known:
    """A copy that was moved, the image that stayed, and how the copy was moved."""

    fixed: Volume
    copy: Volume
    movement: Rigid


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), callback=folder_of_heads)
@click.option("--part", type=click.Choice(["published", "people", "movements"]), help="One part; all without it.")
@click.option("--movements", default=200, show_default=True, help="Number of known movements.")
@click.option("--done", type=click.Path(path_type=Path, dir_okay=False), help="Finished movements; the run goes on.")
def main(folder: Path, part: str | None, movements: int, done: Path | None) -> None:
    """Measure the registration on the images below FOLDER."""
    if part in (None, "published"):
        titles = ("sequence", "correlation", "verdict", "CPU seconds, one thread")
        click.echo(f"## Published atlas space\n\n{markdown_table(titles, list(_published(folder)))}")
    if part in (None, "people"):
        titles = ("images", "verdict", "times mirrored", "drift, mm")
        click.echo(f"\n## Who is refused\n\n{markdown_table(titles, list(_people(folder)))}")
    if part in (None, "movements"):
        click.echo(f"\n## {movements} known movements, up to {MOST_MM:g} mm and {MOST_DEG:g} degrees\n")
        started, moved = datetime.now(UTC), list(_all_moved(folder, movements, done))
        groups = _groups(moved)
        click.echo(markdown_table(tuple(groups[0]), [tuple(map(str, group.values())) for group in groups]))
        each = [{"number": one.number, "error_mm": one.error_mm, "verdict": one.judgement.verdict} for one in moved]
        path = write_record("known movements found again", "registration", started, groups=groups, movements=each)
        click.echo(f"{path}", err=True)


def _read(folder: Path, name: str) -> Volume:
    return read_volume(folder / f"{name}.nii.gz")


def _published(folder: Path) -> Iterator[tuple[str, ...]]:
    """As the tumour recipes prepare: heads to T1C, T1C to the published T1C, N4 for the search, refined by the brain.

    The correlation counts where the published image is brain.
    """
    heads = {name: read_volume(next((folder / GLIOMA / "raw_head").glob(f"*_{name}.nii.gz"))) for name in SEQUENCES}
    published = {name: _read(folder, f"{STRIPPED}_{name}_bet") for name in SEQUENCES}
    labels, grid = read_numbers(folder / GLIOMA / "published_masks/hdbet_native_t1c.nii.gz")
    brain = Mask((labels > 0).astype(np.uint8), grid)
    began = time.process_time()
    shown = {name: without_bias(head) for name, head in heads.items()}
    to_atlas = register(shown["t1c"], published["t1c"], threads=1, fixed_mask=_content(published["t1c"]))
    for name in SEQUENCES:
        found, verdict = to_atlas, judge(shown["t1c"], published["t1c"], to_atlas, same_person=True)
        if name != "t1c":
            whole = register(shown[name], shown["t1c"], threads=1)
            to_reference = refined(shown[name], shown["t1c"], whole, brain)
            found, verdict = to_reference.after(to_atlas), judge(shown[name], shown["t1c"], to_reference)
        alike = correlation(heads[name], found, published[name])
        click.echo(f"{name} {alike:.4f} {verdict}", err=True)
        yield name, f"{alike:.3f}", _in_words(verdict), f"{time.process_time() - began:.0f}"
        began = time.process_time()


def _content(stripped: Volume) -> Mask:
    """The brain of an image without a skull."""
    return Mask((stripped.voxels > 0).astype(np.uint8), stripped.geometry)


def correlation(head: Volume, found: Rigid, published: Volume) -> float:
    """Correlation of a raw head, interpolated once, with a published image, where that is brain."""
    moved, brain = resample_through(head, found, published.geometry).voxels, published.voxels > 0
    return float(np.corrcoef(moved[brain], published.voxels[brain])[0, 1])


def _people(folder: Path) -> Iterator[tuple[str, ...]]:
    for fixed, moving in ONE_PERSON:
        yield _judged(f"one person: {fixed}, {moving}", _read(folder, fixed), _read(folder, moving))
    for fixed, moving in TWO_PEOPLE:
        yield _judged(f"two people: {fixed}, {moving}", _read(folder, fixed), _read(folder, moving))
    for fixed, moving in MIRRORED:
        yield _judged(f"mirrored header: {fixed}, {moving}", _read(folder, fixed), _mirrored(_read(folder, moving)))
    for fixed, moving in PAIRS:
        shifted = _shifted(_read(folder, moving), Rigid(movement(np.array([0, 0, 0, 3.0, 4.0, 0]), np.zeros(3))))
        found = judge(shifted, _read(folder, fixed), Rigid.identity())
        yield _row(f"5 mm apart, not registered: {fixed}, {moving}", found)


def _judged(name: str, fixed: Volume, moving: Volume) -> tuple[str, ...]:
    return _row(name, judge(moving, fixed, register(moving, fixed, threads=1)))


def _row(name: str, found: Judgement) -> tuple[str, ...]:
    click.echo(f"{name}: {found}", err=True)
    return name, _in_words(found), f"{found.times_mirrored:.2f}", f"{found.drift_mm:.1f}"


def _in_words(found: Judgement) -> str:
    return " ".join((f"{found.verdict}.", *found.reasons))


def _mirrored(volume: Volume) -> Volume:
    """Return the image with a header that exchanges left and right."""
    return Volume(volume.voxels, Geometry(volume.geometry.shape, np.diag([-1, 1, 1, 1]) @ volume.geometry.affine))


def _shifted(volume: Volume, movement_of: Rigid) -> Volume:
    """Return the image at another place, by its header alone."""
    affine = movement_of.inverse().matrix @ volume.geometry.affine
    return Volume(volume.voxels, Geometry(volume.geometry.shape, affine), volume.name)


def _all_moved(folder: Path, count: int, done: Path | None) -> Iterator[Moved]:
    """Take each movement from the file of finished ones, or register it and add it to the file."""
    lines = done.read_bytes().splitlines() if done is not None and done.exists() else []
    finished = {each.number: each for each in (msgspec.json.decode(line, type=Moved) for line in lines)}
    for number in range(count):
        found = finished.get(number) or _moved(folder, number)
        if done is not None and number not in finished:
            with done.open("ab") as stream:
                stream.write(msgspec.json.encode(found) + b"\n")
        yield found


def _moved(folder: Path, number: int) -> Moved:
    """Register an image to a copy of another one that was moved, and judge the result."""
    pair = known_movement(folder, number)
    found = register(pair.copy, pair.fixed, threads=1)
    error, judgement = corner_error_mm(pair, found), judge(pair.copy, pair.fixed, found)
    fixed, moving = PAIRS[number % len(PAIRS)]
    click.echo(f"{number} {fixed} {moving} {error:.3f} mm {judgement}", err=True)
    return Moved(number, fixed == moving, error, max(pair.copy.geometry.spacing_mm), judgement)


def known_movement(folder: Path, number: int) -> Known:
    """A pair with a movement of this number; thick slices move by their header alone, and noise is added."""
    chance = np.random.default_rng(number)
    fixed_name, moving_name = PAIRS[number % len(PAIRS)]
    fixed, moving = _read(folder, fixed_name), _read(folder, moving_name)
    known = _chosen(chance, moving)
    thick = max(moving.geometry.spacing_mm) > 2
    copy = _shifted(moving, known) if thick else resample_through(moving, known, moving.geometry)
    noise = NOISE * float(np.percentile(copy.voxels, 99)) * chance.standard_normal(copy.voxels.shape)
    return Known(fixed, Volume(np.asarray(copy.voxels + noise, dtype=np.float32), copy.geometry), known)


def corner_error_mm(pair: Known, found: Rigid) -> float:
    """Mean error at the eight corners of the brain, mm."""
    fixed = pair.fixed
    bright = np.argwhere(fixed.voxels > fixed.voxels.mean())[::50]
    corners = brain_corners(bright @ fixed.geometry.affine[:3, :3].T + fixed.geometry.affine[:3, 3])
    return float(np.linalg.norm(found.moved(corners) - pair.movement.inverse().moved(corners), axis=1).mean())


def _chosen(chance: np.random.Generator, moving: Volume) -> Rigid:
    """Return a movement about the centre of an image, with any axis and direction."""
    from scipy.spatial.transform import Rotation

    axis, direction = (each / np.linalg.norm(each) for each in chance.standard_normal((2, 3)))
    matrix, centre = np.eye(4), centre_mm(moving, None)
    matrix[:3, :3] = Rotation.from_rotvec(axis * np.radians(chance.uniform(0, MOST_DEG))).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + direction * chance.uniform(0, MOST_MM)
    return Rigid(matrix)


def _groups(found: list[Moved]) -> list[dict[str, str | float]]:
    """Return what the table says of each kind of pair."""
    groups: list[dict[str, str | float]] = []
    for name, is_same in (("within a contrast", True), ("across contrasts", False)):
        group = [each for each in found if each.same_contrast is is_same]
        errors = np.array([each.error_mm for each in group] or [0.0])
        flagged = np.array([each.judgement.verdict is not Verdict.GOOD for each in group] or [False])
        good = errors <= GOOD_MM
        facts = {
            "count": len(group),
            "mean error, mm": round(float(errors.mean()), 2),
            "largest, mm": round(float(errors.max()), 2),
            f"beyond {GOOD_MM:g} mm, not flagged": int((~good & ~flagged).sum()),
            "good": int(good.sum()),
            "good, but flagged": int((flagged & good).sum()),
        }
        groups.append({"movements": name, **facts})
    return groups
