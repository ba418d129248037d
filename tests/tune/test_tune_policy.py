"""What tune tries next and what it chooses, decided without a network: made-up models, from first trial to last."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from present import present

from brain_edge_conversion.search.space import Stop
from brain_edge_conversion.tune.front import dominates, pareto_front
from brain_edge_conversion.tune.policy import SettingOutcome, cheapest, next_setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from brain_edge_conversion.tune.settings import Setting

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4).filter(lambda sizes: math.prod(sizes) > 1).map(tuple)


def cost_of(sizes: tuple[int, ...], setting: Setting) -> float:
    """Operations that fall with each level of each dial."""
    return math.prod(2.0 ** (size - 1 - level) for size, level in zip(sizes, setting, strict=True))


def simulate(sizes: tuple[int, ...], excess_of: Callable[[Setting], float]) -> tuple[Stop, list[SettingOutcome]]:
    """Run the policy against a made-up model until it stops."""
    history: list[SettingOutcome] = []
    for _ in range(math.prod(sizes) + 1):
        decision = next_setting(sizes, history)
        if isinstance(decision, Stop):
            return decision, history
        excess = excess_of(decision)
        operations = math.inf if math.isinf(excess) else cost_of(sizes, decision)
        history.append(SettingOutcome(decision, operations, 0, excess, met=excess <= 1))
    raise AssertionError("the policy does not come to an end")


@st.composite
def models(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[Setting, float]]:
    """Sizes of dials, and an excess for each setting, in any order: no model has to be well behaved."""
    sizes = draw(SIZES)
    settings = list(itertools.product(*map(range, sizes)))
    figures = st.one_of(st.floats(0.0, 3.0), st.just(math.inf))
    excesses = draw(st.lists(figures, min_size=len(settings), max_size=len(settings)))
    return sizes, dict(zip(settings, excesses, strict=True))


@given(models())
def test_the_search_ends_and_tries_nothing_twice_and_never_the_package_as_it_is(model):
    sizes, excesses = model
    _, history = simulate(sizes, excesses.__getitem__)
    settings = [outcome.setting for outcome in history]
    assert len(set(settings)) == len(settings)
    assert (0,) * len(sizes) not in settings


@given(models())
def test_the_choice_is_the_cheapest_that_was_seen_to_meet_the_budget(model):
    sizes, excesses = model
    stop, history = simulate(sizes, excesses.__getitem__)
    met = [outcome for outcome in history if outcome.met]
    if met:
        assert excesses[stop.chosen] <= 1
        assert cost_of(sizes, present(stop.chosen)) == min(outcome.operations for outcome in met)
    else:
        assert stop.chosen is None


@given(models())
def test_no_single_step_from_the_choice_is_cheaper_and_within_the_budget(model):
    sizes, excesses = model
    stop, _ = simulate(sizes, excesses.__getitem__)
    if stop.chosen is None:
        return
    for dial, level in enumerate(stop.chosen):
        if level + 1 < sizes[dial]:
            cheaper = (*stop.chosen[:dial], level + 1, *stop.chosen[dial + 1 :])
            assert excesses[cheaper] > 1


@given(SIZES, st.data())
def test_where_cheaper_is_never_better_a_setting_that_meets_the_budget_is_found_if_there_is_one(sizes, data):
    """Each level of each dial loses something, whatever the others do."""
    losses = [sorted(data.draw(st.lists(st.floats(0.0, 2.0), min_size=size - 1, max_size=size - 1))) for size in sizes]

    def excess_of(setting: Setting) -> float:
        return sum(([0.0, *losses[dial]])[level] for dial, level in enumerate(setting))

    stop, _ = simulate(sizes, excess_of)
    settings = (setting for setting in itertools.product(*map(range, sizes)) if any(setting))
    assert (stop.chosen is None) == all(excess_of(setting) > 1 for setting in settings)


@given(models())
def test_the_same_accuracies_lead_the_same_way(model):
    sizes, excesses = model
    assert simulate(sizes, excesses.__getitem__) == simulate(sizes, excesses.__getitem__)


def test_where_the_cheapest_setting_will_do_only_each_dial_alone_is_tried_besides():
    stop, history = simulate((3, 1, 2, 4), lambda _setting: 0.5)
    assert stop.chosen == (2, 0, 1, 3)
    assert [outcome.setting for outcome in history] == [(2, 0, 1, 3), (0, 0, 1, 3), (2, 0, 0, 3), (2, 0, 1, 0)]


def test_what_cannot_be_run_is_given_up_first():
    """The whole volume at once may be more than a network takes: only that dial goes back."""
    stop, history = simulate((2, 3, 2), lambda setting: math.inf if setting[1] == 2 else 0.1)
    assert stop.chosen == (1, 1, 1)
    assert len(history) <= 6


@given(SIZES)
def test_where_nothing_will_do_nothing_is_chosen(sizes):
    stop, _ = simulate(sizes, lambda _setting: 2.0)
    assert stop == Stop(None, "no setting that is cheaper than the package as it is meets the budget")


def test_of_two_settings_with_the_same_operations_the_one_that_resamples_less_is_taken():
    dear = SettingOutcome((1, 0), 10.0, 0, 0.5, met=True)
    assert cheapest([dear, SettingOutcome((1, 1), 10.0, 1, 0.5, met=True)]) == (1, 1)
    assert cheapest([SettingOutcome((1, 1), 10.0, 1, 0.5, met=False), dear]) == (1, 0)


def test_what_saves_nothing_is_not_changed():
    """A crop that finds no air takes nothing away, and is left out."""
    stop, _ = simulate((2, 2), lambda _setting: 0.5)
    assert stop.chosen == (1, 1)
    same = [SettingOutcome(setting, 10.0, 0, 0.5, met=True) for setting in ((1, 1), (0, 1), (1, 0))]
    assert cheapest(same) == (0, 1)


POINTS = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=12)


@given(POINTS)
def test_nothing_on_the_front_is_dominated_and_all_else_is_by_something_on_it(points):
    front = pareto_front(points)
    for number, point in enumerate(points):
        beaten = [points[other] for other in front if dominates(points[other], point)]
        assert bool(beaten) == (number not in front)


@given(POINTS, st.randoms(use_true_random=False))
def test_the_front_does_not_depend_on_the_order(points, random):
    shuffled = points.copy()
    random.shuffle(shuffled)
    assert sorted(points[place] for place in pareto_front(points)) == sorted(
        shuffled[place] for place in pareto_front(shuffled)
    )
