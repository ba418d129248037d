"""How alike images of different people, of one person, and copies of an image are: the limit of decision 0033.

    python -m benchmarks likeness FOLDER

FOLDER is `mri` in the one of `BRAIN_EDGE_DATA`: heads of people, and brain masks beside them, which also strip copies
of these heads. Prints Markdown: pairs of images, and correlations of their thumbnails.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import numpy as np

from brain_edge.evaluation.markdown import markdown_table
from brain_edge.image.geometry import Geometry
from brain_edge.image.identity import COPY_CORRELATION, likeness, thumbnail
from brain_edge.image.resample import Interpolation, resize
from brain_edge.image.volume import Volume
from brain_edge.io.dicom import choose_series, list_series, read_series
from brain_edge.io.nifti import read_volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from brain_edge.image.volume import FloatArray

PEOPLE: Final = ("ms_longitudinal/patient*", "ms_cross/patient*", "tcga_fg_6692", "brainchop_t1", "*_dicom")
LESIONS: Final = ("gold", "segmentation")
MASKS: Final = ("mask", "hdbet")
"""In a path below a person's folder: what is left out, and what is a brain mask."""

BESIDE: Final = "_brainmask.nii.gz"


@dataclass(frozen=True)
class Image:
    """An image or a brain mask of somebody."""

    person: str
    is_mask: bool
    volume: Volume
    short: FloatArray | None


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(folder: Path) -> None:
    """Compare every image below FOLDER with every other one, and with its copies."""
    people = sorted(path for pattern in PEOPLE for path in folder.glob(pattern))
    images = [Image(person.name, mask, volume, thumbnail(volume)) for person in people for mask, volume in _of(person)]
    heads = [image for image in images if not image.is_mask]
    pairs = [(a, b, likeness(a.short, b.short)) for a, b in combinations(images, 2)]
    of_masks = [alike for a, b, alike in pairs if a.person != b.person and (a.is_mask or b.is_mask)]
    of_two = [alike for a, b, alike in pairs if a.person != b.person and not (a.is_mask or b.is_mask)]
    of_one = [alike for a, b, alike in pairs if a.person == b.person and not (a.is_mask or b.is_mask)]
    rows = [
        ("images of different people, raw and stripped, any sequences", *_at_most(of_two)),
        ("brain masks (or mask and image) of different people", *_at_most(of_masks)),
        ("one person, other visits or sequences, raw and stripped", *_at_most(of_one)),
        *((f"copies, {how}", *_at_least(_copies(heads, change))) for how, change in COPIES.items()),
    ]
    click.echo(markdown_table(("pairs", "count", "correlation"), rows))
    click.echo(f"{len(people)} people, {len(heads)} images")


def _of(person: Path) -> Iterator[tuple[bool, Volume]]:
    """All that is there of somebody, and whether it is a mask; an image with a brain mask once more, stripped."""
    if person.name.endswith("_dicom"):
        yield False, read_series(choose_series(list_series(person)))
    for path in sorted(person.rglob("*.nii.gz")):
        below = str(path.relative_to(person))
        if not any(word in below for word in LESIONS):
            volume = read_volume(path)
            yield any(word in below for word in MASKS), volume
            beside = path.with_name(path.name.replace(".nii.gz", BESIDE))
            if beside.is_file():
                yield False, _like(volume, volume.voxels * (read_volume(beside).voxels > 0))


def _like(volume: Volume, voxels: FloatArray) -> Volume:
    """Other voxels, oriented alike."""
    first, second, third = voxels.shape
    return Volume(voxels, Geometry((first, second, third), volume.geometry.affine))


def _resampled(volume: Volume, spacing_mm: float) -> Volume:
    """Linearly, over the same field of view."""
    old = volume.geometry
    shape = [max(1, round(side * mm / spacing_mm)) for side, mm in zip(old.shape, old.spacing_mm, strict=True)]
    return _like(volume, resize(volume.voxels[None], shape, Interpolation.LINEAR)[0])


COPIES: Final[dict[str, Callable[[Volume], Volume]]] = {
    "intensities x 2 + 10": lambda volume: _like(volume, volume.voxels * 2 + 10),
    "resampled to 1.2 mm": lambda volume: _resampled(volume, 1.2),
    "resampled to 2 mm": lambda volume: _resampled(volume, 2),
    "a margin of 12 voxels on every side": lambda volume: _like(
        volume, np.pad(volume.voxels, 12, constant_values=volume.voxels.min())
    ),
    "3 to 8 voxels cut off in the plane": lambda volume: _like(volume, volume.voxels[3:-8, 5:-6]),
}


def _copies(heads: Iterable[Image], change: Callable[[Volume], Volume]) -> list[float]:
    return [likeness(head.short, thumbnail(change(head.volume))) for head in heads]


def _at_most(found: list[float]) -> tuple[str, str]:
    return str(len(found)), f"at most {max(found):.3f}"


def _at_least(found: list[float]) -> tuple[str, str]:
    below = sum(each < COPY_CORRELATION for each in found)
    return str(len(found)), f"at least {min(found):.3f}" + (f"; {below} below {COPY_CORRELATION}" if below else "")
