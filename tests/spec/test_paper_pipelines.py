"""The pipelines of the source papers, said in steps: each is a specification that holds together and does that.

Small shapes stand for the papers'. The networks are functions whose output is known; what is judged is everything
around them, against the paper's description written in numpy.
"""

from __future__ import annotations

import json

import jsonschema
import msgspec
import numpy as np
import pytest
from phantoms import ORIENTATIONS, make_affine

from brain_edge.engine.segmenter import Segmenter
from brain_edge.errors import ImplausibleError, InputError, UsageError
from brain_edge.image.geometry import Geometry, axis_moves
from brain_edge.image.resample import Interpolation
from brain_edge.image.volume import Study, Volume
from brain_edge.spec import (
    Activation,
    Edge,
    Label,
    Missing,
    ModelSpec,
    Network,
    NoiseSlices,
    Sequence,
    SlicesAlong,
    Stage,
    StridedWindows,
    Task,
    WholeStack,
    canonical_json,
)
from brain_edge.spec.steps import (
    Argmax,
    AverageStages,
    BeforeStep,
    Clip,
    ComponentExtent,
    Constants,
    CropAroundStage,
    CropOrPadInPlane,
    CropToForeground,
    FitPercentile,
    KeepLargest,
    MinimumVolume,
    Normalise,
    OneHot,
    OrdinalLevels,
    Orient,
    PadToMultiple,
    PaintedRegion,
    PaintRegions,
    PrependBackground,
    Region,
    RescaleToUnit,
    ResizeInPlane,
    Restore,
    StapleStages,
    Threshold,
    VoteStages,
    WhenEmpty,
    ZScore,
)
from brain_edge.spec.steps.moves import reorder
from brain_edge_conversion.recipes import cascaded_unet, residual_unet_cascade
from brain_edge_conversion.specification import json_schema, spec_from_json

replace = msgspec.structs.replace

SEQUENCES = tuple(Sequence(name=name) for name in ("T1", "T1C", "T2", "FLAIR"))
TUMOUR = tuple(Label(value=value, name=name) for value, name in ((1, "necrosis"), (2, "oedema"), (4, "enhancing")))
SHAPE = (30, 28, 21)
LINEAR, NEAREST = Restore(interpolation=Interpolation.LINEAR), Restore(interpolation=Interpolation.NEAREST)
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
REGIONS = PaintRegions(
    regions=tuple(PaintedRegion(channel=c, above=0.5, label=label) for c, label in enumerate((2, 1, 4)))
)


def spec(name: str, *stages: Stage, **changes) -> ModelSpec:
    return ModelSpec(
        **{"name": name, "task": Task.TUMOUR, "inputs": SEQUENCES, "stages": stages, "labels": TUMOUR, **changes}
    )


def stage(name: str, before: tuple[BeforeStep, ...], network: Network, *after) -> Stage:
    return Stage(name=name, before=before, network=network, after=after)


def network(name: str, channels_in: int = 4, channels_out: int = 1, **parameters) -> Network:
    return Network(graphs=(name,), channels_in=channels_in, channels_out=channels_out, **parameters)


def study(orientation: str = "RAS", names: tuple[str, ...] = ("T1", "T1C", "T2", "FLAIR")) -> Study:
    """A skull-stripped brain with a tumour of three nested regions, without symmetry; the same in the world."""
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, side) for side in SHAPE), indexing="ij"))
    brain = ((places / np.array([0.9, 0.8, 0.85]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0) < 1
    distance = np.sqrt(((places - np.array([0.25, -0.2, 0.1]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0))
    moves = axis_moves("RAS", orientation)
    geometry = Geometry(SHAPE, make_affine("RAS", (1, 1, 1))).reoriented(moves)
    volumes = {}
    for number, name in enumerate(names):
        image = 100 + 60 * (distance < 0.5) + 60 * (distance < 0.35) + 60 * (distance < 0.2) + 8 * number * places[0]
        array = np.where(brain, image, 0).astype(np.float32)
        volumes[name] = Volume(np.ascontiguousarray(reorder(array[np.newaxis], moves)[0]), geometry, name)
    return Study(volumes, names[0])


def level(above: float):
    """A network (N, C, ...) -> (N, 1, ...): one where the first channel is above a value."""
    return lambda batch: (batch[:, :1] > above).astype(np.float32)


def levels(*above: float):
    return lambda batch: np.concatenate([level(each)(batch) for each in above], axis=1)


def tumour(image: Study) -> np.ndarray:
    """What a network that sees the intensities must find: 2, 1 and 4, one inside the other."""
    t1 = image.volumes["T1"].voxels
    return np.select([t1 > 250, t1 > 190, t1 > 130], [4, 1, 2], 0).astype(np.uint8)


ZSCORED = (Orient(axes="RAS"), ZScore(region=Region.NONZERO))

# one specification per paper; the numbers are the paper's where the shape of the test allows


CASCADED_U_NET = cascaded_unet.spec((21, 24, 24))
LOCALISATION = residual_unet_cascade.spec(folds=2, coarse=(24, 24, 24), fine=(16, 16, 16), least_enhancing_voxels=30)
LOCALISATION_STRICT = residual_unet_cascade.spec(
    folds=2, coarse=(24, 24, 24), fine=(16, 16, 16), least_enhancing_voxels=600
)

DEEPSEG = spec(
    "deepseg-nnu-net",
    stage("deepseg", (CropToForeground(), *ZSCORED), network("a", 4, 3), REGIONS, NEAREST),
    stage("nnunet-a", (CropToForeground(), *ZSCORED), network("b", 4, 3), REGIONS, NEAREST),
    stage(
        "nnunet-b",
        (CropToForeground(), *ZSCORED),
        network("c", 4, 3),
        REGIONS,
        NEAREST,
        StapleStages(stages=("deepseg", "nnunet-a")),
        MinimumVolume(of=(4,), voxels=20, replacement=1),
    ),
)
"""BrainLes 2021: STAPLE over three configurations; a small enhancing tumour becomes necrosis."""

HARDNET = spec(
    "hardnet-bts",
    stage(
        "v1",
        (
            Orient(axes="RAS"),
            CropToForeground(),
            FitPercentile(name="low", percent=1.0, region=Region.NONZERO),
            FitPercentile(name="high", percent=99.0, region=Region.NONZERO),
            RescaleToUnit(lower="low", upper="high"),
            PadToMultiple(multiple_of=8),
        ),
        network("v1", 4, 3, flips=((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))),
        LINEAR,
    ),
    stage(
        "v2",
        (Orient(axes="RAS"), CropToForeground(), ZScore(region=Region.NONZERO), PadToMultiple(multiple_of=8)),
        Network(graphs=("v2a", "v2b"), channels_in=4, channels_out=3, member_weights=(1.0, 3.0)),
        LINEAR,
        AverageStages(stages=("v1",), weights=(2.0, 1.0)),
        REGIONS,
    ),
)
"""BrainLes 2021: versions with windows and training of their own, averaged; labels are set differences."""

VAE_U_NET = spec(
    "vae-u-net",
    stage(
        "tumour",
        ZSCORED,
        network("vae", 4, 4, execution=StridedWindows(shape=(18, 18, 18), stride=(8, 8, 8), core=(16, 16, 16))),
        Argmax(values=(0, 4, 1, 2)),
        NEAREST,
    ),
)
"""BrainLes 2021: windows of 144 of which 128 are kept, stride 64."""

PLANES = tuple(
    stage(
        name,
        (
            Orient(axes="RAS"),
            *ZSCORED[1:],
            ResizeInPlane(axis=axis, shape=(32, 32), interpolation=Interpolation.LINEAR),
        ),
        network(name, 4, 4, execution=SlicesAlong(axis=axis, batch=8)),
        Argmax(values=(0, 1, 2, 4)),
        NEAREST,
        *vote,
    )
    for axis, name, vote in (
        (0, "sagittal", ()),
        (1, "coronal", ()),
        (2, "axial", (VoteStages(stages=("sagittal", "coronal"), tie_order=(4, 1, 2, 0)),)),
    )
)
MULTI_PLANE = spec("multi-plane-unet++", *PLANES)
"""BrainLes 2021: a network per plane on slices of 256 x 256, and a hard vote."""

TCUP_GAN = spec(
    "tcup-gan",
    stage(
        "tumour",
        (
            Orient(axes="SPL"),
            FitPercentile(name="p99", percent=99.0),
            Normalise(divide="p99"),
            ResizeInPlane(axis=0, shape=(32, 32), interpolation=Interpolation.LINEAR),
        ),
        network("generator", 4, 3, execution=WholeStack(axis=0)),
        PrependBackground(),
        Argmax(values=(0, 1, 2, 4)),
        NEAREST,
        ComponentExtent(of=(1, 2, 4), mean_area_above=12.5),
        ComponentExtent(of=(1, 4), mean_area_above=7.5, replacement=2),
        ComponentExtent(of=(4,), mean_area_above=2.0, replacement=1),
    ),
)
"""BraTS 2023: the whole stack goes through a recurrent generator; components by mean area and extent."""

SPIN = spec(
    "spin",
    stage(
        "lesion",
        (
            Orient(axes="SPL"),
            Constants(name="m", values=(30.2,)),
            Constants(name="s", values=(35.2,)),
            Normalise(subtract="m", divide="s"),
        ),
        network("spin", 5, 1, execution=SlicesAlong(axis=0, batch=8, neighbours=2, edge=Edge.ZERO)),
        Threshold(channel=0, above=0.5),
        NEAREST,
    ),
    task=Task.LESION,
    inputs=(Sequence(name="T1"),),
    labels=(Label(value=1, name="lesion"),),
)
"""BrainLes 2021: five slices in, one out; the mean with which a stack is padded is 0 once it is normalised."""

PGAN_U_NET = spec(
    "pgan-spade-u-net",
    stage(
        "classes",
        (
            Orient(axes="SAR"),
            Normalise(divide=1500.0),
            Normalise(subtract=0.05),
            CropOrPadInPlane(axis=0, shape=(32, 32)),
        ),
        network("unet", 1, 4, execution=SlicesAlong(axis=0, batch=16)),
        Argmax(),
        NEAREST,
    ),
    inputs=(Sequence(name="T1C"),),
    labels=tuple(Label(value=value, name=f"class-{value}") for value in (1, 2, 3)),
)
"""Label and image synthesis: fitted constants, 240 x 240 padded to 256 x 256, slice by slice."""

ANNOTATORS = spec(
    "multi-annotator-nnu-net",
    stage(
        "growth",
        (Orient(axes="RAS"), Clip(lower=0.0), ZScore()),
        network("nnunet", 1, 4, activation=Activation.SOFTMAX),
        OrdinalLevels(),
        NEAREST,
        KeepLargest(of=(1, 2, 3)),
    ),
    inputs=(Sequence(name="T1"),),
    labels=tuple(Label(value=value, name=f"marked-by-{value}") for value in (1, 2, 3)),
)
"""QUBIQ 2021: class c is "exactly c of N annotators"."""

SPADE = spec(
    "spade",
    stage(
        "image",
        (Orient(axes="SAR"), OneHot(values=(0, 1, 2, 4)), CropOrPadInPlane(axis=0, shape=(32, 32))),
        network("spade", 4, 1, execution=SlicesAlong(axis=0, batch=4)),
        NEAREST,
    ),
    task=Task.SYNTHESIS,
    inputs=(Sequence(name="labels"),),
    labels=(),
)
"""A label map in, an image out."""

PGAN = spec(
    "pgan",
    stage("map", (Orient(axes="SAR"),), network("pgan", 16, 1, execution=NoiseSlices(axis=0, seed=1)), NEAREST),
    task=Task.SYNTHESIS,
    inputs=(Sequence(name="grid"),),
    labels=(),
)
"""Noise in, slices out."""

ALL = (
    CASCADED_U_NET,
    LOCALISATION,
    DEEPSEG,
    HARDNET,
    VAE_U_NET,
    MULTI_PLANE,
    TCUP_GAN,
    SPIN,
    PGAN_U_NET,
    ANNOTATORS,
    SPADE,
    PGAN,
)


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.name)
def test_each_is_data_that_survives_json_and_satisfies_the_schema(model):
    text = canonical_json(model)
    assert spec_from_json(text, model.name) == model
    VALIDATOR.validate(json.loads(text))


def agreement(labels: np.ndarray, expected: np.ndarray) -> float:
    """Share of the tumour's voxels that have their label."""
    return float((labels == expected)[expected > 0].mean())


class TestCascadedUNet:
    def test_later_networks_see_what_earlier_ones_found(self):
        seen = {}

        def tc(batch):
            seen["tc"] = batch
            return level(190)(batch) * batch[:, 4:5]

        def et(batch):
            seen["et"] = batch
            return level(250)(batch) * batch[:, 5:6]

        image = study()
        mask = Segmenter(CASCADED_U_NET, {"wt": level(130), "tc": tc, "et": et})(image).mask
        np.testing.assert_array_equal(mask.labels, tumour(image))
        np.testing.assert_array_equal(seen["tc"][0, 4], seen["tc"][0, 0] > 130)
        np.testing.assert_array_equal(seen["et"][0, 5], seen["et"][0, 0] > 190)

    def test_an_enhancing_tumour_without_anything_around_it_is_background(self):
        nothing = lambda batch: np.zeros_like(batch[:, :1])  # noqa: E731
        mask = Segmenter(CASCADED_U_NET, {"wt": nothing, "tc": nothing, "et": level(130)})(study()).mask
        assert not mask.labels.any()


FOUND_ABOVE = {"coarse": 130, "wt": 130, "tc": 190, "et": 250}
REGION_NETWORKS = {graph: level(FOUND_ABOVE[graph.rstrip("01")]) for graph in LOCALISATION.graphs}


class TestLocalisation:
    def test_finds_the_box_and_merges_the_regions(self):
        image = study()
        mask = Segmenter(LOCALISATION, REGION_NETWORKS)(image).mask
        np.testing.assert_array_equal(mask.labels, tumour(image))

    def test_an_enhancing_tumour_that_is_too_small_is_emptied_into_the_core(self):
        """Fewer than 600 voxels in the paper; the region ET is empty then, and the core is what is left of it."""
        assert 4 in Segmenter(LOCALISATION, REGION_NETWORKS)(study()).mask.labels
        labels = Segmenter(LOCALISATION_STRICT, REGION_NETWORKS)(study()).mask.labels
        assert 4 not in labels
        assert {1, 2} <= set(np.unique(labels))

    def test_a_brain_without_a_tumour_is_looked_at_in_its_middle(self):
        sessions = dict.fromkeys(REGION_NETWORKS, level(1e6))
        assert not Segmenter(LOCALISATION, sessions)(study()).mask.labels.any()

    def test_unless_nothing_must_not_be(self):
        strict = tuple(
            replace(
                each,
                before=tuple(
                    replace(s, when_empty=WhenEmpty.REFUSE) if isinstance(s, CropAroundStage) else s
                    for s in each.before
                ),
            )
            for each in LOCALISATION.stages
        )
        segmenter = Segmenter(replace(LOCALISATION, stages=strict), dict.fromkeys(REGION_NETWORKS, level(1e6)))
        with pytest.raises(ImplausibleError, match="stage 'coarse' found nothing to crop to in this image"):
            segmenter(study())


def scored(image: Study) -> tuple[float, float, float]:
    """The thresholds 130, 190 and 250 after the z-score of what is not zero."""
    brain = image.volumes["T1"].voxels
    brain = brain[brain != 0].astype(np.float64)
    low, middle, high = ((each - brain.mean()) / brain.std() for each in (130, 190, 250))
    return low, middle, high


class TestEnsembles:
    def test_staple_overrules_one_configuration_that_is_wrong(self):
        image = study()
        low, middle, high = scored(image)
        right = levels(low, middle, high)
        wrong = levels(low - 0.2, high, 99)
        mask = Segmenter(DEEPSEG, {"a": right, "b": wrong, "c": right})(image).mask
        np.testing.assert_array_equal(mask.labels, tumour(image))

    def test_a_mean_of_versions_has_the_weights_stated(self):
        """2/3 of the first, 1/3 of the second, which is itself a quarter of one fold and three of the other."""
        image = study()
        constant = {"v1": 0.55, "v2a": 0.8, "v2b": 0.4}
        sessions = {
            name: lambda batch, value=value: np.full((1, 3, *batch.shape[2:]), value, dtype=np.float32)
            for name, value in constant.items()
        }
        step = HARDNET.stages[1].after[2]
        assert isinstance(step, PaintRegions)
        inside = tuple(replace(region, above=0.5333) for region in step.regions)
        last = replace(HARDNET.stages[1], after=(*HARDNET.stages[1].after[:2], replace(step, regions=inside)))
        model = replace(HARDNET, stages=(HARDNET.stages[0], last))
        labels = Segmenter(model, sessions)(image).mask.labels  # (2 * 0.55 + 0.5) / 3 = 0.53333...
        assert (labels[5:-5, 5:-5, 5:-5] == 4).all()
        above = tuple(replace(region, above=0.5334) for region in step.regions)
        last = replace(last, after=(*last.after[:2], replace(step, regions=above)))
        assert not Segmenter(replace(model, stages=(HARDNET.stages[0], last)), sessions)(image).mask.labels.any()

    def test_windows_that_keep_their_core_cover_the_whole_head(self):
        image = study()
        low, middle, high = scored(image)

        def exclusive(batch):
            wt, tc, et = (level(each)(batch) for each in (low, middle, high))
            return np.concatenate([1 - wt, et, tc - et, wt - tc], axis=1)

        np.testing.assert_array_equal(Segmenter(VAE_U_NET, {"vae": exclusive})(image).mask.labels, tumour(image))


def exclusive_planes(low: float, middle: float, high: float):
    def run(batch):
        wt, tc, et = (level(each)(batch) for each in (low, middle, high))
        return np.concatenate([1 - wt, tc - et, wt - tc, et], axis=1)

    return run


class TestSlices:
    def test_two_planes_outvote_the_third_on_the_inputs_own_grid(self):
        image = study()
        right, wrong = exclusive_planes(*scored(image)), exclusive_planes(-1, -1, -1)
        for odd in ("sagittal", "coronal", "axial"):
            sessions = {name: wrong if name == odd else right for name in ("sagittal", "coronal", "axial")}
            mask = Segmenter(MULTI_PLANE, sessions)(image).mask
            assert mask.labels.shape == SHAPE
            assert agreement(mask.labels, tumour(image)) > 0.85

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    @pytest.mark.parametrize("model", [MULTI_PLANE, TCUP_GAN], ids=lambda model: model.name)
    def test_give_the_same_mask_in_all_ways_to_store_a_head(self, model, orientation):
        """The networks know H from W, so a slice in the wrong plane or the wrong way up would show."""

        def session(batch):
            scale = batch[:, :1] * (
                1 + 0.3 * np.linspace(0, 1, batch.shape[2])[:, None] + 0.1 * np.linspace(0, 1, batch.shape[3])
            )
            channels = model.stages[0].network.channels_out
            return np.concatenate([np.abs(scale - each) < 0.4 for each in range(channels)], axis=1).astype(np.float32)

        sessions = dict.fromkeys(model.graphs, session)
        expected = Segmenter(model, sessions)(study()).mask.labels
        assert len(np.unique(expected)) > 1
        mask = Segmenter(model, sessions)(study(orientation)).mask
        np.testing.assert_array_equal(mask.labels, reorder(expected[np.newaxis], axis_moves("RAS", orientation))[0])

    def test_tcup_gan_removes_what_is_thin_from_the_outside_in(self):
        image = study()
        p99 = np.percentile(image.volumes["T1"].voxels, 99)

        def generator(batch):
            assert batch.shape == (SHAPE[2], 4, 32, 32)
            wt, tc, et = (level(float(each / p99))(batch) for each in (130, 190, 250))
            return np.concatenate([tc - et, wt - tc, et], axis=1)

        labels = Segmenter(TCUP_GAN, {"generator": generator})(image).mask.labels
        assert agreement(labels, tumour(image)) > 0.85
        # the enhancing part spans fewer than five slices only where the whole volume is squeezed
        strict = replace(
            TCUP_GAN.stages[0],
            after=(*TCUP_GAN.stages[0].after[:-1], ComponentExtent(of=(4,), mean_area_above=500, replacement=1)),
        )
        labels = Segmenter(replace(TCUP_GAN, stages=(strict,)), {"generator": generator})(image).mask.labels
        assert 4 not in labels
        assert 1 in labels

    def test_spin_sees_the_five_slices_around_each(self):
        image = study(names=("T1",))

        def spin(batch):
            assert batch.shape[1] == 5
            return (batch[:, 2:3] > (130 - 30.2) / 35.2).astype(np.float32)

        mask = Segmenter(SPIN, {"spin": spin})(image).mask
        np.testing.assert_array_equal(mask.labels, tumour(image) > 0)

    def test_fitted_constants_and_padding_to_a_square(self):
        image = study(names=("T1C",))

        def unet(batch):
            assert batch.shape[1:] == (1, 32, 32)
            found = [
                (batch > each / 1500 - 0.05).astype(np.float32) * rank
                for rank, each in enumerate((-1e9, 130, 190, 250), start=1)
            ]
            return np.concatenate(found, axis=1)

        labels = Segmenter(PGAN_U_NET, {"unet": unet})(image).mask.labels
        t1ce = image.volumes["T1C"].voxels
        np.testing.assert_array_equal(labels, np.select([t1ce > 250, t1ce > 190, t1ce > 130], [3, 2, 1], 0))

    def test_annotators_are_levels(self):
        image = study(names=("T1",))
        volume = image.volumes["T1"].voxels.astype(np.float64)
        cuts = [(each - volume.mean()) / volume.std() for each in (130, 190, 250)]

        def logits(batch):
            level_of = sum((batch > cut).astype(int) for cut in cuts)
            return np.concatenate([np.where(level_of == each, 9.0, 0.0) for each in range(4)], axis=1).astype(
                np.float32
            )

        labels = Segmenter(ANNOTATORS, {"nnunet": logits})(image).mask.labels
        expected = np.select([volume > 250, volume > 190, volume > 130], [3, 2, 1], 0)
        np.testing.assert_array_equal(labels, expected)


class TestGenerators:
    def label_map(self) -> Volume:
        image = study()
        return Volume(tumour(image).astype(np.float32), image.geometry, "labels")

    def test_make_an_image_of_a_label_map_on_its_grid(self):
        given = self.label_map()
        values = np.array([10.0, 20.0, 30.0, 50.0], dtype=np.float32)
        (image,) = Segmenter(
            SPADE, {"spade": lambda batch: np.tensordot(values, batch, axes=(0, 1))[:, None]}
        ).synthesize(given)
        assert image.geometry.same_grid(given.geometry)
        assert image.name == "spade-0"
        expected = np.select([given.voxels == 4, given.voxels == 2, given.voxels == 1], [50, 30, 20], 10)
        np.testing.assert_array_equal(image.voxels, expected)

    def test_make_the_same_image_of_the_same_seed(self):
        plane = (SHAPE[1], SHAPE[0])
        spread = lambda batch: np.multiply.outer(batch[:, 0], np.ones((1, *plane))).astype(np.float32)  # noqa: E731
        first, second = (Segmenter(PGAN, {"pgan": spread}).synthesize(study().volumes["T1"])[0] for _ in range(2))
        np.testing.assert_array_equal(first.voxels, second.voxels)
        assert first.geometry.shape == SHAPE

    def test_a_generator_is_not_asked_for_a_mask_nor_a_segmenter_for_an_image(self):
        with pytest.raises(UsageError, match="expected a model that segments, got spade, which makes images"):
            Segmenter(SPADE, {"spade": level(0)})(self.label_map())
        with pytest.raises(UsageError, match="expected a generator, got spin, which makes masks"):
            Segmenter(SPIN, {"spin": level(0)}).synthesize(study(names=("T1",)))

    def test_an_image_that_is_no_label_map_is_refused(self):
        with pytest.raises(InputError, match="expected a label map of the values 0, 1, 2, 4, got"):
            Segmenter(SPADE, {"spade": level(0)}).synthesize(study(names=("T1",)).volumes["T1"])


class TestMissingSequences:
    OPTIONAL = tuple(
        replace(each, missing=Missing.ZERO) if each.name == "T2" else Sequence(name=each.name) for each in SEQUENCES
    )
    STEPS = (
        Orient(axes="RAS"),
        Constants(name="scale", values=(2.0, 3.0, 5.0, 7.0)),
        Normalise(divide="scale"),
        ZScore(region=Region.NONZERO),
    )

    def model(self) -> ModelSpec:
        tumour_stage = stage("tumour", self.STEPS, network("n", 4, 4), Argmax(values=(0, 1, 2, 4)), NEAREST)
        return spec("optional", tumour_stage, inputs=self.OPTIONAL)

    def test_one_that_may_be_is_zero_after_all_steps_and_the_others_are_as_ever(self):
        seen: list[np.ndarray] = []

        def session(batch: np.ndarray) -> np.ndarray:
            seen.append(batch.copy())
            return batch

        complete, without = study(), study(names=("T1", "T1C", "FLAIR"))
        without = Study({name: complete.volumes[name] for name in without.volumes}, "T1")
        for image in (complete, without):
            Segmenter(self.model(), {"n": session})(image)
        assert not seen[1][0, 2].any()
        np.testing.assert_array_equal(seen[1][0, [0, 1, 3]], seen[0][0, [0, 1, 3]])
        assert seen[0][0, 2].any()

    def test_one_that_may_not_be_is_refused(self):
        with pytest.raises(InputError, match="missing: FLAIR, not wanted: none"):
            Segmenter(self.model(), {"n": level(0)})(study(names=("T1", "T1C", "T2")))


def test_networks_of_random_output_give_labels_of_the_table_for_every_pipeline():
    """Whatever a network says, what comes out is on the grid and in the table."""
    random = np.random.default_rng(0)
    image = study()

    for model in ALL:
        if model.makes_images:
            continue
        names = {graph: each.network for each in model.stages for graph in each.network.graphs}

        def session(batch, names=names, graph=None):
            return random.random((batch.shape[0], names[graph].channels_out, *batch.shape[2:]), dtype=np.float32)

        sessions = {graph: (lambda batch, graph=graph: session(batch, graph=graph)) for graph in names}
        given = Study({each.name: image.volumes[each.name] for each in model.inputs}, model.inputs[0].name)
        labels = Segmenter(model, sessions)(given).mask.labels
        assert labels.shape == SHAPE
        assert set(np.unique(labels)) <= {0, *model.label_names()}


def test_the_head_of_these_tests_has_all_three_compartments():
    assert set(np.unique(tumour(study()))) == {0, 1, 2, 4}
