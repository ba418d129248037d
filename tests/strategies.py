"""What hypothesis draws: affines, grids, voxels, and specifications of models that fit together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from msgspec import UNSET
from phantoms import ORIENTATIONS, make_affine

from brain_edge.image.contrast import Contrast
from brain_edge.image.geometry import Geometry
from brain_edge.image.resample import Interpolation
from brain_edge.spec import (
    Activation,
    Blending,
    Code,
    Edge,
    Label,
    ModelSpec,
    Network,
    NoiseSlices,
    Plausible,
    PlausibleInput,
    PlausibleLabel,
    Sequence,
    SlicesAlong,
    SlidingWindow,
    Stage,
    Starts,
    StridedWindows,
    Task,
    WholeStack,
    WholeVolume,
)
from brain_edge.spec.steps import (
    AppendForeground,
    AppendStage,
    Argmax,
    Clip,
    ComponentExtent,
    CropAroundStage,
    CropOrPadInPlane,
    CropOrPadTo,
    CropToForeground,
    CropToStage,
    FillHoles,
    FitPercentile,
    KeepLargest,
    LargestComponent,
    Linear,
    MinimumVolume,
    Normalise,
    OrdinalLevels,
    OrdinalRule,
    Orient,
    PadToMultiple,
    PaintedRegion,
    PaintRegions,
    Placement,
    Region,
    RemoveSmallComponents,
    ResampleBetweenCentres,
    ResampleToSpacing,
    RescaleToUnit,
    ResizeInPlane,
    ResizeTo,
    Restore,
    StapleStages,
    Threshold,
    VoteStages,
    WhenEmpty,
    ZScore,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# A busy machine is no defect of what is tested. `make test-all` and the mutants draw more than CI has time for.
settings.register_profile("brain_edge", deadline=None, max_examples=int(os.environ.get("BRAIN_EDGE_EXAMPLES", "40")))
settings.load_profile("brain_edge")

LARGEST_TILT = 40
"""Degrees. Below 45 degrees the closest anatomical axis of each voxel axis is beyond dispute."""

SLOTS = ("low", "high", "0.5%")
NUMBERS = st.floats(-1e6, 1e6)
SHARES = st.floats(0.0, 1.0)
SIDES = st.integers(1, 4096)
AXES = st.integers(0, 2)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,12}", fullmatch=True)
ORIENTED = st.sampled_from(ORIENTATIONS)


def shapes(least: int = 1, most: int = 12) -> st.SearchStrategy[tuple[int, int, int]]:
    """Voxels along I, J, K."""
    return st.tuples(*[st.integers(least, most)] * 3)


def rotation(axis: Any, angle: float) -> np.ndarray:
    """Rodrigues' formula: a 3 x 3 rotation by an angle in radians about an axis."""
    x, y, z = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@st.composite
def affines(draw: Callable[..., Any], tilt: int = LARGEST_TILT) -> np.ndarray:
    """An affine in one of the 48 orientations, tilted as a whole, spacing 0.3 to 6 mm."""
    spacing = draw(st.tuples(*[st.floats(0.3, 6.0)] * 3))
    affine = make_affine(draw(ORIENTED), spacing)
    axis = draw(st.tuples(*[st.integers(-9, 9)] * 3).filter(any))
    affine[:3, :3] = rotation(axis, np.deg2rad(draw(st.integers(0, tilt)))) @ affine[:3, :3]
    affine[:3, 3] = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return affine


@st.composite
def geometries(draw: Callable[..., Any], least: int = 1, most: int = 12, tilt: int = LARGEST_TILT) -> Geometry:
    """A small grid anywhere in the world."""
    return Geometry(draw(shapes(least, most)), draw(affines(tilt)))


def voxels(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Noise of the given shape, float32: a seed shrinks better than an array."""
    return np.random.default_rng(seed).normal(100, 30, shape).astype(np.float32)


def pairs(elements: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[float, float]]:
    """A range: the lesser number first."""
    return st.tuples(elements, elements).map(lambda pair: (min(pair), max(pair)))


INTERPOLATIONS = st.sampled_from(Interpolation)
FITS = tuple(FitPercentile(name=name, percent=percent) for name, percent in zip(SLOTS, (1.0, 99.0, 0.5), strict=True))
"""At the head of every first stage, so that whatever refers to them later has them."""

BOUNDS = NUMBERS | st.sampled_from(SLOTS)
GRID_STEPS = st.one_of(
    st.builds(Orient, axes=ORIENTED),
    st.builds(ResampleToSpacing, spacing_mm=st.tuples(*[st.floats(0.01, 100)] * 3), interpolation=INTERPOLATIONS),
    st.builds(ResampleBetweenCentres, spacing_mm=st.tuples(*[st.floats(0.01, 100)] * 3)),
    st.builds(ResizeTo, shape=st.tuples(SIDES, SIDES, SIDES), interpolation=INTERPOLATIONS),
    st.builds(PadToMultiple, multiple_of=SIDES, placement=st.sampled_from(Placement), value=NUMBERS),
    st.builds(CropOrPadTo, shape=st.tuples(SIDES, SIDES, SIDES), placement=st.sampled_from(Placement)),
    st.builds(CropToForeground, region=st.sampled_from(Region), margin_voxels=st.integers(0, 4096)),
    st.builds(ResizeInPlane, axis=AXES, shape=st.tuples(SIDES, SIDES), interpolation=INTERPOLATIONS),
    st.builds(CropOrPadInPlane, axis=AXES, shape=st.tuples(SIDES, SIDES), value=NUMBERS),
)
INTENSITY_STEPS = st.one_of(
    st.builds(FitPercentile, name=NAMES, percent=st.floats(0, 100), region=st.sampled_from(Region)),
    st.builds(Clip, lower=st.none() | BOUNDS, upper=st.none() | BOUNDS),
    st.builds(Normalise, subtract=BOUNDS, divide=BOUNDS),
    st.builds(RescaleToUnit, lower=BOUNDS, upper=BOUNDS),
    st.builds(ZScore, region=st.sampled_from(Region)),
    st.builds(Linear, multiply=NUMBERS, add=NUMBERS),
)
SMALL = st.integers(0, 4)
"""A label that every table of these specifications has, or background."""

CLEANING = st.lists(
    st.builds(LargestComponent, connectivity=st.sampled_from([6, 18, 26]))
    | st.builds(FillHoles, axis=st.sampled_from(["volume", "axial", "coronal", "sagittal"]), value=st.just(1))
    | st.builds(KeepLargest, of=st.just((1, 2)), replacement=SMALL)
    | st.builds(MinimumVolume, of=st.just((1,)), voxels=st.floats(0, 1e6), replacement=SMALL)
    | st.builds(RemoveSmallComponents, of=st.just((2,)), volume_ml=st.floats(0, 1e3), replacement=SMALL)
    | st.builds(ComponentExtent, of=st.just((3,)), mean_area_above=st.floats(0, 1e3), replacement=SMALL),
    max_size=3,
)
EXECUTIONS = st.one_of(
    st.just(WholeVolume()),
    st.builds(
        SlidingWindow,
        shape=st.tuples(SIDES, SIDES, SIDES),
        overlap=st.floats(0, 0.99),
        blending=st.sampled_from([each for each in Blending if each is not Blending.LAST]),
        starts=st.sampled_from([UNSET, *Starts]),
    ),
    st.builds(
        SlidingWindow,
        shape=st.tuples(SIDES, SIDES, SIDES),
        overlap=st.floats(0, 0.99),
        blending=st.just(Blending.LAST),
        starts=st.just(Starts.FIXED_STEP),
    ),
    shapes(1, 64).map(lambda core: StridedWindows(shape=tuple(side + 8 for side in core), stride=core, core=core)),
    st.builds(SlicesAlong, axis=AXES, batch=st.integers(1, 99), edge=st.sampled_from(Edge)),
    st.builds(WholeStack, axis=AXES),
    st.builds(NoiseSlices, axis=AXES, seed=st.integers(0, 2**63 - 1)),
)
WEIGHTS = st.floats(0.01, 100)
FLIPS = st.lists(
    st.lists(st.integers(0, 2), unique=True, max_size=3).map(tuple), min_size=1, max_size=8, unique=True
).map(tuple)


@st.composite
def stages(draw: Callable[..., Any], name: str, channels_in: int, earlier: tuple[str, ...]) -> Stage:
    """A stage that decides labels 0 to 4 and ends on the caller's grid."""
    channels_out = draw(st.integers(2, 5))
    crops = [draw(crops_to(earlier))] if earlier else []
    more = draw(st.lists(st.just(AppendForeground()) | appended(earlier), max_size=2))
    graphs = tuple(draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)))
    weights = draw(st.none() | st.lists(WEIGHTS, min_size=len(graphs), max_size=len(graphs)))
    network = Network(
        graphs=graphs,
        channels_in=channels_in + len(more),
        channels_out=channels_out,
        activation=draw(st.sampled_from(Activation)),
        execution=draw(EXECUTIONS),
        flips=draw(FLIPS),
        member_weights=UNSET if weights is None else tuple(weights),
    )
    values = draw(st.sampled_from([(), tuple(range(channels_out)), (1,) * channels_out]))
    threshold = Threshold(channel=draw(st.integers(0, channels_out - 1)), above=draw(NUMBERS))
    paint = PaintRegions(
        regions=tuple(PaintedRegion(channel=c, above=draw(NUMBERS), label=c) for c in range(channels_out))
    )
    levels = OrdinalLevels(rule=draw(st.sampled_from(OrdinalRule)))
    decide = draw(st.sampled_from([Argmax(values=values), threshold, paint, levels]))
    late, early = Restore(interpolation=Interpolation.NEAREST), Restore(interpolation=draw(INTERPOLATIONS))
    ends = draw(st.sampled_from([(decide, late), (early, decide)]))
    steps = draw(st.lists(GRID_STEPS | INTENSITY_STEPS, max_size=5))
    votes = st.sampled_from([VoteStages(stages=earlier, tie_order=(4, 1)), StapleStages(stages=earlier)])
    combined = [draw(votes)] if earlier and draw(st.booleans()) else []
    return Stage(
        name=name, before=(*FITS, *crops, *steps, *more), network=network, after=(*ends, *combined, *draw(CLEANING))
    )


def crops_to(earlier: tuple[str, ...]) -> st.SearchStrategy[CropToStage | CropAroundStage]:
    """A crop to one of the stages."""
    stage = st.sampled_from(earlier)
    return st.builds(CropToStage, stage=stage, margin=SHARES) | st.builds(
        CropAroundStage, stage=stage, shape=st.tuples(SIDES, SIDES, SIDES), when_empty=st.sampled_from(WhenEmpty)
    )


def appended(earlier: tuple[str, ...]) -> st.SearchStrategy[AppendStage]:
    """One of the stages as a channel; nothing to draw where there is none."""
    return st.builds(AppendStage, stage=st.sampled_from(earlier)) if earlier else st.nothing()


CONTRASTS = st.sampled_from([each for each in Contrast if each not in (Contrast.OTHER, Contrast.ANY)])
STATED = st.just(UNSET) | st.just((Contrast.ANY,)) | st.lists(CONTRASTS, min_size=1, max_size=4, unique=True).map(tuple)


@st.composite
def specs(draw: Callable[..., Any]) -> ModelSpec:
    """A specification that holds together: any steps, one or two stages, one to three sequences."""
    sequences = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    names = draw(st.lists(NAMES, min_size=1, max_size=2, unique=True))
    codes = st.sampled_from([None, Code(scheme="SCT", value="12738006", meaning="Gehirn \N{EN DASH} \u8111")])
    return ModelSpec(
        name=draw(NAMES),
        task=draw(st.sampled_from([task for task in Task if task is not Task.SYNTHESIS])),
        inputs=tuple(
            Sequence(name=name, contrasts=draw(STATED), description=draw(st.text(max_size=5))) for name in sequences
        ),
        stages=tuple(
            draw(stages(name, len(sequences), tuple(names[:position]))) for position, name in enumerate(names)
        ),
        labels=tuple(Label(value=value, name=f"label{value}", code=draw(codes)) for value in range(1, 5)),
        plausible=Plausible(
            inputs=draw(st.none() | st.builds(PlausibleInput, spacing_mm=pairs(NUMBERS), extent_mm=pairs(NUMBERS))),
            labels=tuple(draw(st.lists(PLAUSIBLE_LABELS, max_size=2))),
        ),
    )


PLAUSIBLE_LABELS = st.builds(
    PlausibleLabel,
    label=st.integers(1, 4),
    volume_ml=pairs(NUMBERS),
    max_components=st.none() | st.integers(1, 99),
    max_border_share=st.none() | SHARES,
)
