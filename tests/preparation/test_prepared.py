"""What a study still needs is recognised, images move once, and a mask comes back to the image as it was scanned."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from brain_edge.errors import InputError, UsageError
from brain_edge.image.geometry import Geometry
from brain_edge.image.metrics import least_dice
from brain_edge.image.phantom import Phantom, make_volume
from brain_edge.image.volume import Mask, Study, Volume
from brain_edge.preparation.checks import require_volumes
from brain_edge.preparation.kept import RECORD, entry_of, keep, kept
from brain_edge.preparation.parts import Part, missing_parts, reference_of
from brain_edge.preparation.prepared import Prepared, within
from brain_edge.preparation.record import record_of
from brain_edge.registration.rigid import Rigid
from brain_edge.registration.through import resample_through
from brain_edge.spec import Atlas, Preparation, Skull

if TYPE_CHECKING:
    from pathlib import Path

HEAD = make_volume(Phantom(shape=(60, 70, 60), spacing_mm=3.0))
SMALL = Atlas(space="Small", shape=(60, 70, 60), spacing_mm=3.0, axes="RAS", origin_mm=(-88.5, -103.5, -88.5))
STRIPPED = Preparation(references=("T1C", "T1"), atlas=SMALL, skull=Skull.REMOVED_AFTER)


def on(volume: Volume, geometry: Geometry) -> Volume:
    """The same voxels with another header."""
    return Volume(volume.voxels, geometry)


def ball(radius_mm: float, geometry: Geometry) -> Mask:
    """A ball around the centre of a grid."""
    points = np.indices(geometry.shape).reshape(3, -1).T @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
    inside = np.linalg.norm(points - geometry.corners_mm().mean(axis=0), axis=1) < radius_mm
    return Mask(inside.reshape(geometry.shape).astype(np.uint8), geometry)


ATLAS_HEAD = on(HEAD, SMALL.geometry)
BRAIN = within(ATLAS_HEAD, ball(60.0, SMALL.geometry))
TURN = np.eye(4)
TURN[:3, :3] = Rotation.from_euler("xyz", (7, -5, 11), degrees=True).as_matrix()
TURN[:3, 3] = (4.0, -6.0, 9.0)


class TestParts:
    def test_of_a_prepared_study_are_none(self):
        study = Study.of(T1=BRAIN, T1C=Volume(BRAIN.voxels**1.1, BRAIN.geometry))
        assert missing_parts(study, STRIPPED) == ()

    def test_do_not_depend_on_the_order_of_the_axes(self):
        turned = SMALL.geometry.reoriented(((0, True), (1, True), (2, False)))
        study = Study.of(T1=Volume(BRAIN.voxels[::-1, ::-1], turned))
        assert missing_parts(study, STRIPPED) == ()

    def test_of_a_study_as_it_was_scanned_are_all(self):
        other = Geometry((60, 70, 60), np.diag([2.9, 3.0, 3.1, 1.0]))
        study = Study.of(T1=HEAD, T1C=on(HEAD, other))
        assert missing_parts(study, STRIPPED) == (Part.SEQUENCES, Part.ATLAS, Part.SKULL)

    def test_of_a_registered_study_with_its_skull_are_the_skull(self):
        assert missing_parts(Study.of(T1=ATLAS_HEAD, T1C=ATLAS_HEAD), STRIPPED) == (Part.SKULL,)

    def test_of_a_stripped_study_elsewhere_are_the_registrations(self):
        moved = Geometry(SMALL.shape, np.diag([2.8, 3.0, 3.0, 1.0]))
        assert missing_parts(Study.of(T1=BRAIN, T1C=on(BRAIN, moved)), STRIPPED) == (Part.SEQUENCES, Part.ATLAS)

    def test_of_a_part_of_a_prepared_study_are_none(self):
        for box in (((10, 50), (10, 60), (5, 55)), ((0, 60), (0, 70), (28, 29)), ((20, 40), (0, 70), (0, 60))):
            part = Volume(BRAIN.voxels[tuple(slice(*side) for side in box)], BRAIN.geometry.cropped(box))
            assert missing_parts(Study.of(T1=part, T1C=part), STRIPPED) == ()

    def test_of_a_part_beside_the_atlas_are_the_registrations(self):
        beside = BRAIN.geometry.cropped(((-3, 50), (0, 70), (0, 60)))
        moved = Geometry(BRAIN.geometry.shape, BRAIN.geometry.affine + np.array([[0, 0, 0, 1.4]] + [[0] * 4] * 3))
        for grid in (beside, moved):
            part = Volume(np.resize(BRAIN.voxels, grid.shape), grid)
            assert Part.ATLAS in missing_parts(Study.of(T1=part), STRIPPED)

    def test_of_a_localiser_are_all(self):
        thick = Geometry((60, 70, 5), np.diag([3.0, 3.0, 9.0, 1.0]))
        study = Study.of(T1=Volume(HEAD.voxels[..., :5], thick), T1C=BRAIN)
        assert Part.SEQUENCES in missing_parts(study, STRIPPED)

    def test_without_an_atlas_are_a_grid_of_the_spacing(self):
        keeps = Preparation(references=("T1",), spacing_mm=3.0)
        assert missing_parts(Study.of(T1=HEAD), keeps) == ()
        assert missing_parts(Study.of(T1=HEAD), Preparation(references=("T1",))) == (Part.GRID,)

    def test_need_a_reference(self):
        with pytest.raises(InputError, match="expected T1C or T1 as the reference of the registration, got FLAIR"):
            reference_of(Study.of(FLAIR=HEAD), STRIPPED)


class TestWayBack:
    def prepared(self) -> Prepared:
        there = Rigid(TURN)
        native = Geometry((80, 90, 40), np.diag([2.5, 2.5, 5.0, 1.0]) + np.outer([0, 0, 0, 0], [0] * 4))
        centred = native.affine.copy()
        centred[:3, 3] = -native.corners_mm().mean(axis=0) + TURN[:3, 3]
        scanned = resample_through(ATLAS_HEAD, there.inverse(), Geometry(native.shape, centred))
        study = Study.of(T1=resample_through(scanned, there, SMALL.geometry))
        return Prepared(study, Study.of(T1=scanned), {"T1": there}, parts=(Part.ATLAS,))

    def test_leads_to_the_grid_of_the_image_and_keeps_the_structure(self):
        prepared = self.prepared()
        mask = ball(40.0, SMALL.geometry)
        back = prepared.mask_on(mask, "T1")
        assert back.geometry.same_grid(prepared.scanned.geometry)
        again = resample_through(back, prepared.transforms["T1"], SMALL.geometry)
        assert least_dice(again.labels, mask.labels) > 0.95
        assert back.volume_ml(1) == pytest.approx(mask.volume_ml(1), rel=0.02)

    def test_blends_no_labels(self):
        prepared = self.prepared()
        labels = ball(50.0, SMALL.geometry).labels + 3 * ball(25.0, SMALL.geometry).labels
        back = prepared.mask_on(Mask(labels, SMALL.geometry), "T1")
        assert set(np.unique(back.labels)) == {0, 1, 4}

    def test_of_probabilities_agrees_with_the_mask(self):
        prepared = self.prepared()
        mask = ball(40.0, SMALL.geometry)
        numbers = prepared.numbers_on(mask.labels[np.newaxis].astype(np.float32), "T1")
        # numbers come back linearly, labels from the nearest voxel
        assert least_dice((numbers[0] > 0.5).astype(np.uint8), prepared.mask_on(mask, "T1").labels) > 0.98

    def test_to_the_prepared_grid_is_the_mask_itself(self):
        prepared = self.prepared()
        mask = ball(40.0, SMALL.geometry)
        assert prepared.mask_on(mask, "atlas") is mask
        assert prepared.volume_of("atlas") is prepared.study.volumes["T1"]

    def test_to_another_study_is_refused(self):
        with pytest.raises(UsageError, match="expected --on as one of T1 or atlas, got 'T2'"):
            self.prepared().mask_on(ball(40.0, SMALL.geometry), "T2")


class TestImages:
    def test_of_few_slices_are_refused(self):
        slab = Volume(HEAD.voxels[:, :, 28:31], HEAD.geometry.cropped(((0, 60), (0, 70), (28, 31))), "localiser")
        with pytest.raises(InputError, match="localiser: expected a volume of the head for T1, got 3 slices"):
            require_volumes(Study.of(T1=slab))

    def test_of_a_part_of_a_head_are_refused(self):
        slab = Volume(HEAD.voxels[:, :, 20:40], HEAD.geometry.cropped(((0, 60), (0, 70), (20, 40))), "slab")
        with pytest.raises(InputError, match="slab: expected a field of view of at least 80 mm for T1, got 60 mm"):
            require_volumes(Study.of(T1=slab))

    def test_given_twice_are_refused(self):
        with pytest.raises(InputError, match="T1C is the same image as T1"):
            require_volumes(Study.of(T1=HEAD, T1C=HEAD))

    def test_of_a_ct_are_refused(self):
        units = Volume(np.where(HEAD.voxels > HEAD.voxels.mean(), HEAD.voxels, -1000.0), HEAD.geometry, "ct.nii.gz")
        with pytest.raises(InputError, match=r"^ct.nii.gz: T1 looks like a CT"):
            require_volumes(Study.of(T1=units))


def seal(entry: Path) -> None:
    """Write the digest of the files that are in an entry, as another version of the program would."""
    files = sorted(path for path in entry.iterdir() if path.name != "digest")
    hashes = [[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in files]
    (entry / "digest").write_text(hashlib.sha256(json.dumps(hashes, separators=(",", ":")).encode()).hexdigest())


class TestKept:
    def test_study_is_found_again_for_the_same_images_alone(self, tmp_path):
        prepared = TestWayBack().prepared()
        entry = entry_of(tmp_path, prepared.scanned, STRIPPED, {"registration": "1"})
        assert kept(entry, prepared.scanned) is None
        written = keep(prepared, STRIPPED, entry)
        again = kept(entry, prepared.scanned)
        assert again is not None
        assert np.array_equal(again.study.volumes["T1"].voxels, prepared.study.volumes["T1"].voxels)
        assert np.array_equal(again.transforms["T1"].matrix, TURN)
        assert record_of(written, STRIPPED) == record_of(again, STRIPPED)
        assert again.elapsed_ms == {}
        timed = keep(replace(prepared, elapsed_ms={"registration": 1.0}), STRIPPED, entry)
        assert timed.elapsed_ms == {"registration": 1.0}
        changed = Volume(prepared.scanned.volumes["T1"].voxels + 1, prepared.scanned.geometry)
        assert entry_of(tmp_path, Study.of(T1=changed), STRIPPED, {"registration": "1"}) != entry
        assert entry_of(tmp_path, prepared.scanned, STRIPPED, {"registration": "2"}) != entry
        assert entry_of(tmp_path, prepared.scanned, Preparation(references=("T1",)), {"registration": "1"}) != entry

    def test_what_a_killed_process_has_left_goes_when_the_next_study_is_kept(self, tmp_path):
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        (tmp_path / f".partial-{dead.pid:06x}00-{'0' * 32}").mkdir()
        prepared = TestWayBack().prepared()
        entry = entry_of(tmp_path, prepared.scanned, STRIPPED, {})
        keep(prepared, STRIPPED, entry)
        assert [path.name for path in tmp_path.iterdir()] == [entry.name]

    def test_study_that_is_damaged_is_prepared_again(self, tmp_path):
        prepared = TestWayBack().prepared()
        entry = entry_of(tmp_path, prepared.scanned, STRIPPED, {})
        keep(prepared, STRIPPED, entry)
        (entry / "T1.nii.gz").write_bytes(b"")
        assert kept(entry, prepared.scanned) is None

    @pytest.mark.parametrize(
        "change",
        [
            lambda record: record["parts"].append("another part"),
            lambda record: record["transforms"].clear() or record["transforms"].update(T2=np.eye(4).tolist()),
            lambda record: record["transforms"].update(T1=[[2.0]]),
            lambda record: record["parts"].append(str(Part.SKULL)),
        ],
    )
    def test_study_whose_record_makes_no_sense_is_prepared_again(self, tmp_path, change):
        prepared = TestWayBack().prepared()
        entry = entry_of(tmp_path, prepared.scanned, STRIPPED, {})
        keep(prepared, STRIPPED, entry)
        record = json.loads((entry / RECORD).read_bytes())
        change(record)
        (entry / RECORD).write_text(json.dumps(record))
        seal(entry)
        assert kept(entry, prepared.scanned) is None

    def test_study_with_another_number_is_prepared_again(self, tmp_path):
        """Its mask would lie elsewhere."""
        prepared = TestWayBack().prepared()
        entry = entry_of(tmp_path, prepared.scanned, STRIPPED, {})
        keep(prepared, STRIPPED, entry)
        text = (entry / "preparation.json").read_text()
        (entry / "preparation.json").write_text(text.replace("9.0", "8.0", 1))
        assert kept(entry, prepared.scanned) is None
        (entry / "preparation.json").write_text(text)
        assert kept(entry, prepared.scanned) is not None
        (entry / "brain.nii.gz").write_bytes((entry / "T1.nii.gz").read_bytes())
        assert kept(entry, prepared.scanned) is None

    @pytest.mark.parametrize(("old", "new"), [("9.0", '9.0, "x"'), ('"registration to the atlas"', '"luck"')])
    def test_study_that_another_version_has_sealed_is_prepared_again(self, tmp_path, old, new):
        prepared = TestWayBack().prepared()
        entry = entry_of(tmp_path, prepared.scanned, STRIPPED, {})
        keep(prepared, STRIPPED, entry)
        text = (entry / "preparation.json").read_text()
        assert old in text
        (entry / "preparation.json").write_text(text.replace(old, new, 1))
        seal(entry)
        assert kept(entry, prepared.scanned) is None
