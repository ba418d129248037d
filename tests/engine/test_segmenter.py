"""Segmenter: the same head gives the same mask however it is stored, on the caller's own grid."""

from __future__ import annotations

import sys

import msgspec
import numpy as np
import pytest
from phantoms import OBLIQUE, ORIENTATIONS
from present import present
from tiny_package import (
    CASCADE,
    FIT,
    PHANTOM,
    RESAMPLE,
    RESTORE,
    SCALE,
    SPEC,
    STAGE,
    make_package,
    one_graph,
    tiny_weights,
)

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import ImplausibleError, InputError
from brain_edge.image.geometry import Geometry, axis_moves
from brain_edge.image.phantom import Phantom, make_study, make_volume
from brain_edge.image.resample import Interpolation
from brain_edge.image.volume import Study, Volume
from brain_edge.machine.options import RuntimeOptions
from brain_edge.machine.process import rss_bytes
from brain_edge.spec import Activation, Plausible, PlausibleInput, Sequence
from brain_edge.spec.plausibility import FlagKind
from brain_edge.spec.steps import (
    Argmax,
    CropToStage,
    FitPercentile,
    LargestComponent,
    Orient,
    ResizeTo,
    Threshold,
    ZScore,
)
from brain_edge.spec.steps.moves import reorder

replace = msgspec.structs.replace


def tilted(batch: np.ndarray) -> np.ndarray:
    """A network that knows left from right, front from back, and top from bottom: a threshold that varies."""
    i, j, k = (np.linspace(0, 1, side, dtype=np.float32) for side in batch.shape[2:])
    threshold = 0.2 + 0.2 * i[:, None, None] + 0.1 * j[None, :, None] + 0.1 * k[None, None, :]
    return np.concatenate([np.broadcast_to(threshold, batch.shape), batch], axis=1).astype(np.float32)


TILTED = replace(
    SPEC,
    stages=(
        replace(
            STAGE,
            before=(
                Orient(axes="RAS"),
                ResizeTo(shape=(20, 22, 24), interpolation=Interpolation.CUBIC),
                FitPercentile(name="low", percent=1.0),
                FitPercentile(name="high", percent=99.0),
                SCALE,
            ),
            after=(Argmax(), RESTORE),
        ),
    ),
)


@pytest.fixture(scope="module")
def head() -> Volume:
    """The phantom on a tilted grid of anisotropic voxels, which are not those of any model."""
    volume = make_volume(Phantom(shape=(33, 40, 27), spacing_mm=5.0))
    affine = OBLIQUE.copy()
    affine[:3, :3] *= 5
    return Volume(volume.voxels, Geometry(volume.geometry.shape, affine))


def stored_as(volume: Volume, orientation: str) -> tuple[Volume, tuple]:
    moves = axis_moves(volume.geometry.orientation, orientation)
    array = np.ascontiguousarray(reorder(volume.voxels[np.newaxis], moves)[0])
    return Volume(array, volume.geometry.reoriented(moves)), moves


class TestEveryWayToStoreAHead:
    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_gives_the_same_mask_in_the_world(self, head, orientation):
        segmenter = Segmenter(TILTED, {"tiny": tilted})
        expected = segmenter(head).mask
        assert 0.05 < (expected.labels > 0).mean() < 0.95
        stored, moves = stored_as(head, orientation)
        mask = segmenter(stored).mask
        assert mask.geometry is stored.geometry
        np.testing.assert_array_equal(mask.labels, reorder(expected.labels[np.newaxis], moves)[0])

    def test_without_orientation_it_would_not(self, head):
        """The test above can fail: the network does tell the axes apart."""
        blind = replace(TILTED, stages=(replace(TILTED.stages[0], before=TILTED.stages[0].before[1:]),))
        segmenter = Segmenter(blind, {"tiny": tilted})
        stored, moves = stored_as(head, "SPL")
        expected = reorder(segmenter(head).mask.labels[np.newaxis], moves)[0]
        assert (segmenter(stored).mask.labels != expected).mean() > 0.01

    def test_through_openvino_too(self, tmp_path):
        segmenter = Segmenter.open(make_package(tmp_path / "tiny"), RuntimeOptions(threads=1))
        volume = make_volume(PHANTOM)
        expected = segmenter(volume).mask.labels
        for orientation in ORIENTATIONS[::7]:
            stored, moves = stored_as(volume, orientation)
            np.testing.assert_array_equal(segmenter(stored).mask.labels, reorder(expected[np.newaxis], moves)[0])


class TestOneStage:
    def test_finds_the_brain_of_the_phantom(self, tmp_path):
        """The label is where the phantom was painted as grey or white matter, but for noise at the border."""
        volume = make_volume(PHANTOM)
        result = Segmenter.open(make_package(tmp_path / "tiny"))(volume)
        i, j, k = np.meshgrid(*(np.arange(side) for side in volume.geometry.shape), indexing="ij")
        x, y, z = (
            step * index + start
            for index, step, start in zip(
                (i, j, k), volume.geometry.spacing_mm, volume.geometry.affine[:3, 3], strict=True
            )
        )
        brain = (x / 65) ** 2 + (y / 84) ** 2 + ((z - 3) / 76) ** 2 <= 1
        overlap = 2 * (brain & (result.mask.labels > 0)).sum() / (brain.sum() + (result.mask.labels > 0).sum())
        assert overlap > 0.92
        assert result.flags == ()
        assert result.probabilities is None

    def test_openvino_computes_what_scipy_computes(self, tmp_path):
        from scipy import ndimage
        from scipy.special import expit

        weights, bias = tiny_weights()

        def by_scipy(batch):
            logits = ndimage.correlate(batch[0, 0].astype(np.float64), weights[1, 0], mode="constant") + bias[0, 1]
            return np.stack([1 - expit(logits), expit(logits)])[np.newaxis].astype(np.float32)

        volume = make_volume(PHANTOM)
        ours = Segmenter.open(make_package(tmp_path / "tiny"))(volume, probabilities=True)
        theirs = Segmenter(SPEC, {"tiny": by_scipy})(volume, probabilities=True)
        np.testing.assert_allclose(present(ours.probabilities), present(theirs.probabilities), atol=1e-5)
        assert (ours.mask.labels != theirs.mask.labels).sum() <= 2

    def test_probabilities_lie_on_the_callers_grid(self, head):
        softmax = replace(TILTED.stages[0], network=replace(STAGE.network, activation=Activation.SOFTMAX))
        result = Segmenter(replace(TILTED, stages=(softmax,)), {"tiny": tilted})(head, probabilities=True)
        probabilities = present(result.probabilities)
        assert probabilities.shape == (2, *head.geometry.shape)
        assert probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
        agree = (probabilities[1] > probabilities[0]) == (result.mask.labels > 0)
        assert agree.mean() > 0.9, "nearest labels and linear probabilities differ at the border only"

    def test_probabilities_stay_when_the_next_head_is_segmented(self, tmp_path):
        """Steps that only turn the image leave the output where OpenVINO wrote it, and will write the next one."""
        stage = replace(STAGE, before=(Orient(axes="LPS"), *FIT, SCALE))
        segmenter = Segmenter.open(make_package(tmp_path / "tiny", replace(SPEC, stages=(stage,))))
        volume = make_volume(PHANTOM)
        first = present(segmenter(volume, probabilities=True).probabilities)
        kept = first.copy()
        segmenter(Volume(volume.voxels[::-1], volume.geometry), probabilities=True)
        np.testing.assert_array_equal(first, kept)

    def test_time_is_told_by_stage(self, head):
        elapsed = Segmenter(TILTED, {"tiny": tilted})(head).elapsed_ms
        assert list(elapsed) == ["assemble", "brain: before", "brain: network", "brain: after", "check"]
        assert min(elapsed.values()) >= 0

    def test_the_image_is_not_changed(self, head):
        kept = head.voxels.copy()
        head.voxels.setflags(write=False)
        Segmenter(TILTED, {"tiny": tilted})(head, probabilities=True)
        np.testing.assert_array_equal(head.voxels, kept)

    def test_implausible_results_are_flagged(self, head):
        tight = PlausibleInput(spacing_mm=(0.5, 2.0), extent_mm=(10.0, 900.0))
        spec = replace(TILTED, plausible=Plausible(inputs=tight))
        assert {flag.kind for flag in Segmenter(spec, {"tiny": tilted})(head).flags} == {FlagKind.SPACING}
        nothing = Segmenter(SPEC, {"tiny": lambda batch: np.concatenate([batch + 1, batch], axis=1)})
        assert [flag.kind for flag in nothing(make_volume(PHANTOM)).flags] == [FlagKind.EMPTY]


class TestCascade:
    def test_the_second_stage_sees_the_box_that_the_first_has_found(self, tmp_path):
        seen = {}

        def note(name, session):
            def run(batch):
                seen[name] = batch
                return session(batch)

            return run

        package = make_package(tmp_path / "cascade", CASCADE)
        segmenter = Segmenter.open(package)
        watched = Segmenter(CASCADE, {name: note(name, segmenter._sessions[name]) for name in CASCADE.graphs})
        volume = make_volume(PHANTOM)
        mask = watched(volume).mask
        spans = [np.flatnonzero(mask.labels.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
        sides = np.array([span[-1] - span[0] + 1 for span in spans])
        assert (np.array(seen["second"].shape[2:]) < np.array(seen["first"].shape[2:])).any()
        assert (np.abs(np.array(seen["second"].shape[2:]) - 1.2 * sides) <= 3).all()
        alone = Segmenter.open(make_package(tmp_path / "tiny"))(volume).mask
        differing = (alone.labels != mask.labels).sum() / alone.labels.sum()
        assert differing < 0.01

    def test_intensities_are_scaled_as_in_the_first_stage(self, tmp_path):
        """The percentiles are those of the whole head, not of the box."""
        seen = {}
        segmenter = Segmenter.open(make_package(tmp_path / "cascade", CASCADE))

        def note(batch):
            seen["second"] = batch
            return segmenter._sessions["second"](batch)

        volume = make_volume(PHANTOM)
        Segmenter(CASCADE, {"first": segmenter._sessions["first"], "second": note})(volume)
        low, high = np.percentile(volume.voxels.astype(np.float64), [0.5, 99.5])
        every = np.clip((volume.voxels - low) / (high - low), 0, 1)
        cut = seen["second"][0, 0]
        middle = tuple(side // 2 for side in cut.shape)
        assert np.abs(every - cut[middle]).min() < 1e-5
        assert cut.mean() > every.mean()

    def test_ticks_are_counted_over_all_stages(self, tmp_path):
        ticks = []
        segmenter = Segmenter.open(make_package(tmp_path / "cascade", CASCADE))
        segmenter(make_volume(PHANTOM), tick=lambda: ticks.append(1))
        assert len(ticks) == sum(stage.network.passes for stage in CASCADE.stages) == 2

    def test_nothing_to_crop_to_is_refused(self):
        empty = {name: (lambda batch: np.concatenate([batch + 1, batch], axis=1)) for name in CASCADE.graphs}
        with pytest.raises(ImplausibleError, match="stage 'box' found nothing to crop to: no brain was found"):
            Segmenter(CASCADE, empty)(make_volume(PHANTOM))

    def test_a_probability_of_the_last_stage_is_zero_outside_of_its_box(self, tmp_path):
        result = Segmenter.open(make_package(tmp_path / "cascade", CASCADE))(make_volume(PHANTOM), probabilities=True)
        probabilities = present(result.probabilities)
        assert probabilities.shape == (2, *PHANTOM.shape)
        assert not probabilities[:, 0].any()
        assert (probabilities[1] <= 1).all()


class TestSeveralSequences:
    SUM = replace(
        SPEC,
        name="pair",
        inputs=(Sequence(name="T1"), Sequence(name="T2")),
        stages=(
            replace(
                STAGE,
                before=(Orient(axes="LPS"), RESAMPLE, ZScore()),
                network=replace(one_graph("n"), channels_in=2, channels_out=1),
                after=(Threshold(channel=0, above=0.4), RESTORE, LargestComponent()),
            ),
        ),
    )

    @staticmethod
    def mean(batch: np.ndarray) -> np.ndarray:
        return batch.mean(axis=1, keepdims=True)

    def test_on_other_grids_are_brought_to_the_first(self):
        study = make_study(PHANTOM, ["T1", "T2"])
        segmenter = Segmenter(self.SUM, {"n": self.mean})
        expected = segmenter(study).mask.labels
        finer = make_study(msgspec.structs.replace(PHANTOM, shape=(88, 104, 100), spacing_mm=2.0), ["T1", "T2"])
        stored, _ = stored_as(finer.volumes["T2"], "SPL")
        mask = segmenter(Study.of(T1=study.volumes["T1"], T2=stored)).mask
        assert mask.geometry is study.volumes["T1"].geometry
        same = 2 * (mask.labels & expected).sum() / (mask.labels.sum() + expected.sum())
        assert same > 0.95

    def test_a_missing_one_is_refused(self):
        with pytest.raises(InputError, match="the model pair takes T1, T2, got T1; missing: T2"):
            Segmenter(self.SUM, {"n": self.mean})(make_volume(PHANTOM))

    def test_fields_of_view_apart_are_refused(self):
        study = make_study(PHANTOM, ["T1", "T2"])
        away = Geometry(PHANTOM.shape, study.geometry.affine + 300 * np.eye(4, k=3))
        knee = Volume(study.volumes["T2"].voxels, away, "knee.nii")
        with pytest.raises(InputError, match=r"knee\.nii covers 0% of the field of view of phantom T1"):
            Segmenter(self.SUM, {"n": self.mean})(Study.of(T1=study.volumes["T1"], T2=knee))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc keeps what is free")
def test_what_is_free_after_a_study_goes_back_to_the_system(tmp_path):
    """Whoever asked for the study: here it is 64 MiB that lay below a block which is still in use."""
    segmenter, head = Segmenter.open(make_package(tmp_path / "tiny")), make_volume(PHANTOM)
    segmenter(head)
    blocks = [np.ones(2**16, dtype=np.uint8) for _ in range(2**10)]
    del blocks[:-1]
    kept = present(rss_bytes())
    segmenter(head)
    assert kept - present(rss_bytes()) > 32 * 2**20


def test_missing_graphs_are_refused():
    with pytest.raises(InputError, match="a session for each graph of the model tiny-cascade, missing: second"):
        Segmenter(CASCADE, {"first": tilted})


def test_a_step_after_which_the_box_would_lie_elsewhere_is_refused():
    """A cascade whose first stage pads: its box is in another field of view than the one that is cropped."""
    from brain_edge.errors import PackageError
    from brain_edge.spec.steps import PadToMultiple

    first = replace(CASCADE.stages[0], before=(*FIT, SCALE, PadToMultiple(multiple_of=16)))
    second = replace(CASCADE.stages[1], before=(CropToStage(stage="box"), SCALE))
    spec = replace(CASCADE, stages=(first, second))
    with pytest.raises(PackageError, match="correct the specification of the model"):
        Segmenter(spec, {"first": tilted, "second": tilted})(make_volume(PHANTOM))
