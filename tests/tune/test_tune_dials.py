"""What of a specification tune makes cheaper, and that each setting is a specification that the runtime takes."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_package import CASCADE, SPEC, STAGE

from brain_edge.image.resample import Interpolation
from brain_edge.spec import Activation, SlidingWindow, Stage, StridedWindows, WholeVolume, canonical_json
from brain_edge.spec.steps import (
    Argmax,
    Clip,
    CropToForeground,
    FitPercentile,
    LargestComponent,
    Orient,
    PadToMultiple,
    ResampleToSpacing,
    ResizeTo,
    Restore,
    ZScore,
)
from brain_edge_conversion.recipes import hd_bet_v1
from brain_edge_conversion.specification import spec_from_json
from brain_edge_conversion.tune.settings import Arithmetic, Dials, dials_of, kept_members

MIRRORINGS = hd_bet_v1.ALL_MIRRORINGS
FIVE_FOLDS = hd_bet_v1.spec(tuple(f"fold{fold}" for fold in range(5)), MIRRORINGS)


def changed(network=None, **stage):
    """The specification of one stage with other steps or another network."""
    network = msgspec.structs.replace(STAGE.network, **(network or {}))
    return msgspec.structs.replace(SPEC, stages=(msgspec.structs.replace(STAGE, network=network, **stage),))


def titles(space: Dials) -> dict[str, list[str]]:
    return {dial.title: [level.title for level in dial.levels[1:]] for dial in space.dials}


def at(space: Dials, **levels: int) -> Stage:
    """The only stage with these dials turned; spaces in titles are underscores."""
    setting = [levels.get(dial.title.replace(" ", "_"), 0) for dial in space.dials]
    (stage,) = space.changed((*setting, 0)).stages
    return stage


def test_the_dials_of_an_ensemble_with_mirrorings_padded_to_128():
    assert titles(dials_of(FIVE_FOLDS)) == {
        "members": ["3 of 5 members", "2 of 5 members", "1 of 5 members"],
        "mirrorings": ["4 of 8 mirrorings", "2 of 8 mirrorings", "1 of 8 mirrorings"],
        "padding": ["padded to the multiple only"],
        "crop": ["cropped to the head"],
        "way in": ["resampled to nearest neighbours"],
    }


def test_the_cheapest_setting_of_it_is_one_plain_pass_over_the_head():
    space = dials_of(FIVE_FOLDS, (Arithmetic.OWN, Arithmetic.INT8))
    floor = tuple(size - 1 for size in space.sizes)
    (stage,) = space.changed(floor).stages
    assert stage.network.graphs == ("fold0",)
    assert stage.network.flips == ((),)
    fits = [FitPercentile, FitPercentile]
    resamples = [ResampleToSpacing, Clip, ZScore]
    assert [type(step) for step in stage.before] == [Orient, *fits, *resamples, CropToForeground, PadToMultiple]
    assert stage.before[-1] == PadToMultiple(multiple_of=16)
    assert space.numbers(floor) is Arithmetic.INT8
    assert space.changes(floor)[-1] == "networks in INT8"


def specs():
    window = SlidingWindow(shape=(32, 48, 32), overlap=0.6)
    after = (Restore(interpolation=Interpolation.LINEAR), Argmax(), LargestComponent())
    return [
        FIVE_FOLDS,
        CASCADE,
        changed({"execution": window}),
        changed({"graphs": ("a", "b", "c"), "member_weights": (0.5, 2.0, 1.0)}, after=after),
        changed({"execution": StridedWindows(shape=(32, 32, 32), stride=(8, 8, 8), core=(16, 16, 16))}),
    ]


@pytest.mark.parametrize("spec", specs())
@given(data=st.data())
def test_every_setting_is_a_specification_that_is_read_back(spec, data):
    space = dials_of(spec)
    setting = tuple(data.draw(st.integers(0, size - 1)) for size in space.sizes)
    tuned = space.changed(setting)
    assert spec_from_json(canonical_json(tuned), "here") == tuned
    assert (tuned == spec) == (setting == space.full)
    assert bool(space.changes(setting)) == any(setting)
    assert (tuned.labels, tuned.inputs, tuned.name) == (spec.labels, spec.inputs, spec.name)


@pytest.mark.parametrize("spec", specs())
def test_settings_differ_from_each_other_and_have_names_of_their_own(spec):
    space = dials_of(spec)
    settings = list(itertools.product(*map(range, space.sizes)))
    assert len({canonical_json(space.changed(setting)) for setting in settings}) == len(settings)
    assert len({space.title(setting) for setting in settings}) == len(settings)


def test_windows_overlap_less_and_then_are_the_whole_volume_padded_to_what_their_sides_divide_by():
    space = dials_of(changed({"execution": SlidingWindow(shape=(32, 48, 32), overlap=0.3)}))
    assert titles(space)["windows"] == [
        "windows that overlap by 25%",
        "windows that overlap by 0%",
        "the whole volume instead of windows",
    ]
    whole = at(space, windows=3)
    assert isinstance(whole.network.execution, WholeVolume)
    padding = whole.before[-1]
    assert isinstance(padding, PadToMultiple)
    assert padding.multiple_of == 16


def test_strided_windows_lie_side_by_side():
    execution = StridedWindows(shape=(32, 32, 32), stride=(8, 8, 8), core=(16, 16, 16))
    apart = at(dials_of(changed({"execution": execution})), windows=1).network.execution
    assert isinstance(apart, StridedWindows)
    assert apart.stride == (16, 16, 16)


def test_a_grid_that_is_fixed_is_not_cropped():
    before = (ResizeTo(shape=(32, 32, 32), interpolation=Interpolation.NEAREST),)
    assert "crop" not in titles(dials_of(changed(before=before)))


def test_a_stage_that_is_cropped_already_is_not_cropped_again():
    crops = [dial.stage for dial in dials_of(CASCADE).dials if dial.title == "crop"]
    assert crops == ["box"]


def test_probabilities_that_were_interpolated_are_decided_before_they_go_back():
    after = (Restore(interpolation=Interpolation.LINEAR), Argmax(), LargestComponent())
    network = {"activation": Activation.SOFTMAX}
    stage = at(dials_of(changed(network, after=after)), way_back=1)
    assert stage.after == (Argmax(), Restore(interpolation=Interpolation.NEAREST), LargestComponent())


def test_the_members_that_count_most_stay_in_their_order():
    network = msgspec.structs.replace(STAGE.network, graphs=("a", "b", "c", "d"), member_weights=(1.0, 3.0, 2.0, 3.0))
    assert [kept_members(network, count) for count in (1, 2, 3)] == [(1,), (1, 3), (1, 2, 3)]
    space = dials_of(changed({"graphs": network.graphs, "member_weights": network.member_weights}))
    assert at(space, members=1).network.member_weights == (3.0, 3.0)


def test_a_model_of_one_pass_on_a_fixed_grid_has_nothing_to_tune_but_its_numbers():
    before = (Orient(axes="RAS"), ResizeTo(shape=(32, 32, 32), interpolation=Interpolation.NEAREST))
    spec = changed(before=before)
    assert dials_of(spec).is_empty
    assert not dials_of(spec, (Arithmetic.OWN, Arithmetic.INT8)).is_empty
