"""Readers of what a preparation finds: atlases, transforms, studies of earlier runs; and masks of other programs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from brain_edge.machine.options import RuntimeOptions
from hunt import seeds_studies
from hunt.reader import TakenError, files

if TYPE_CHECKING:
    from hunt.reader import Case


def atlas(case: Case) -> None:
    """The atlas of `prepare --atlas`, which is named once and opened for each study."""
    from brain_edge.jobs.preparing.wanted import of_four
    from brain_edge.preparation.preparer import Preparer
    from brain_edge.preparation.transforms import atlas_of_file, open_atlas
    from brain_edge.registration.atlas import ATLASES, CENTRE_TOLERANCE_MM
    from brain_edge.registration.working import centre_mm

    for path in files(case):
        found = atlas_of_file(path)
        wanted = of_four(found, keeps_skull=True)
        volume, _ = open_atlas(Preparer(wanted.preparation, wanted.contrasts, 1, atlas=path))
        for known in (each for each in ATLASES if each.name == found.space):
            if not np.linalg.norm(centre_mm(volume, None) - known.centre) <= CENTRE_TOLERANCE_MM:
                raise TakenError(f"{known.name} with its head elsewhere")


def transform(case: Case) -> None:
    """A transform as an ITK text file, which is used in both directions."""
    from brain_edge.registration.itk_file import read_itk

    for path in files(case):
        read_itk(path).inverse()


def kept_study(case: Case) -> None:
    """A study that `run --prepared` has kept: without it, or with it damaged, the same mask is made."""
    mask = _mask_of(case)
    if not np.array_equal(mask, np.load(io.BytesIO(case.valid[seeds_studies.MASK]))):
        raise TakenError("a damaged study was taken, and gives another mask")


def resealed_kept_study(case: Case) -> None:
    """The same with a digest that fits what is there."""
    _mask_of(case)


def _mask_of(case: Case) -> np.ndarray:
    from brain_edge.engine.segmenter import Segmenter
    from brain_edge.io.nifti import read_volume

    options = RuntimeOptions(
        threads=1, stage_zero=case.folder / "zero", prepared=case.folder / "kept", resident_graphs=2
    )
    return Segmenter.open(case.folder / "package", options)(read_volume(case.folder / "head.nii.gz")).mask.labels


def prepared_study(case: Case) -> None:
    """A study that `prepare` has finished: it is kept where every file has the hash of the record."""
    from brain_edge.verbs.prepare import prepare

    out, options = case.folder / "out", RuntimeOptions(threads=1, stage_zero=case.folder / "zero")
    done = prepare(
        case.folder / "studies", out, like=case.folder / "package", picture=False, page=True, runtime=options
    )
    for failed in done.failed:
        assert failed.error is not None
        raise failed.error
    for name in (name for name in case.valid if name.startswith("out/") and not name.endswith(".json")):
        if (case.folder / name).read_bytes() != case.valid[name]:
            raise TakenError(f"{name} was kept")


def expected_mask(case: Case) -> None:
    """The mask of `convert --expect-mask`, on the grid of its head."""
    from tiny_package import SPEC

    from brain_edge_conversion.convert.expected import ExpectedData, read_expectation

    study = seeds_studies.small_study()
    for path in files(case):
        mask = read_expectation(ExpectedData(mask=path), study, SPEC).mask
        if not mask.geometry.same_grid(study.geometry) or not set(np.unique(mask.labels)) <= {0, 1}:
            raise TakenError("a mask of another head, or with another label")
