"""A preparation is data: it states a grid, fits the sequences of its model, and leaves other specifications alone."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from tiny_package import SPEC

from brain_edge.image.geometry import Geometry
from brain_edge.machine.json import decode_json
from brain_edge.spec import Atlas, Missing, ModelSpec, Preparation, Skull, Task, canonical_json

SRI24 = Atlas(space="SRI24", shape=(240, 240, 155), spacing_mm=1.0, axes="LPS", origin_mm=(0.0, 239.0, 0.0))
TO_ATLAS = Preparation(references=("T1",), atlas=SRI24, bias_field=True, skull=Skull.REMOVED_AFTER)


class TestSpecification:
    def test_without_a_preparation_has_the_bytes_that_it_had(self):
        assert b"preparation" not in canonical_json(SPEC)

    def test_reads_the_preparation_that_it_writes(self):
        spec = msgspec.structs.replace(SPEC, preparation=TO_ATLAS)
        assert decode_json(canonical_json(spec), ModelSpec) == spec

    def test_refuses_a_reference_that_is_no_sequence(self):
        with pytest.raises(ValueError, match=r"`references` names T1C, and the sequences are T1"):
            msgspec.structs.replace(SPEC, preparation=Preparation(references=("T1C",)))

    def test_refuses_references_that_may_all_be_missing(self):
        optional = msgspec.structs.replace(SPEC.inputs[0], name="T1C", missing=Missing.ZERO)
        with pytest.raises(ValueError, match="each of `references` may be missing"):
            msgspec.structs.replace(
                SPEC, inputs=(*SPEC.inputs, optional), preparation=Preparation(references=("T1C",)), stages=SPEC.stages
            )

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"references": ("T1", "T1")}, "expected different `references`, got T1, T1"),
            ({"axes": "LPL"}, "expected `axes` that name each anatomical axis once, such as LPS, got 'LPL'"),
        ],
    )
    def test_refuses_what_no_study_can_have(self, change, words):
        with pytest.raises(ValueError, match=words):
            Preparation(**{"references": ("T1",), **change})

    def test_an_atlas_of_more_voxels_than_an_image_is_refused(self):
        with pytest.raises(ValueError, match="expected an atlas of at most"):
            Atlas(space="X", shape=(4000, 4000, 4000), spacing_mm=1.0, axes="LPS", origin_mm=(0.0, 0.0, 0.0))

    def test_of_a_generator_has_no_preparation(self):
        with pytest.raises(ValueError, match="has no mask to bring back; remove preparation"):
            msgspec.structs.replace(SPEC, task=Task.SYNTHESIS, labels=(), preparation=TO_ATLAS)


class TestGrid:
    def test_of_the_tumour_challenges_is_that_of_their_files(self):
        published = np.array([[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
        assert SRI24.geometry.same_grid(Geometry((240, 240, 155), published))
        assert TO_ATLAS.grid(Geometry((10, 10, 10), np.eye(4))).same_grid(SRI24.geometry)

    def test_without_an_atlas_has_the_spacing_and_the_centre_of_the_image(self):
        angle = 0.3
        affine = np.diag([0.9, 0.9, 5.5, 1.0])
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        native = Geometry((200, 240, 26), turn @ affine)
        grid = Preparation(references=("T1",)).grid(native)
        assert grid.spacing_mm == pytest.approx((1.0, 1.0, 1.0))
        assert grid.orientation == "LPS"
        assert grid.shape == (180, 216, 143)
        assert grid.corners_mm().mean(axis=0) == pytest.approx(native.corners_mm().mean(axis=0))

    def test_is_told_in_words(self):
        assert TO_ATLAS.sentences() == (
            "registers the other sequences to T1; the bias field is corrected for that alone",
            "registers T1 to SRI24",
            "removes the skull after the images have moved",
        )
