"""What the search tries next, decided without a network: simulated searches from their first trial to their end."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from brain_edge_conversion.quantize.ladder import (
    LADDER,
    MENDED,
    BiasCorrection,
    FloatEnds,
    Overflow,
    Preset,
    Ranges,
    ladder_from,
)
from brain_edge_conversion.quantize.policy import Group, Rank, Trial, TrialOutcome, best, least_reverted, next_trial
from brain_edge_conversion.search.space import Stop

GROUPS = tuple(Group(graph="g", layers=(f"layer{number}",)) for number in range(11))
SHARE = 0.5


def simulate(excess_of, share_of=lambda _trial: 1.0, ladder=LADDER, groups=GROUPS) -> tuple[Stop, list[TrialOutcome]]:
    """Run the policy against a made-up network until it stops."""
    history: list[TrialOutcome] = []
    ranked = None
    for _ in range(50):
        decision = next_trial(history, ladder, ranked, SHARE)
        if isinstance(decision, Stop):
            return decision, history
        if isinstance(decision, Rank):
            ranked = groups
            continue
        excess, share = excess_of(decision), share_of(decision)
        met = excess <= 1 and share >= SHARE
        history.append(TrialOutcome(trial=decision, excess=excess, int8_share=share, met=met))
    raise AssertionError("the policy does not come to an end")


def test_the_fastest_setting_that_meets_the_budget_is_taken_and_nothing_is_tried_after_it():
    for wanted in range(len(LADDER)):
        stop, history = simulate(lambda trial, wanted=wanted: 2.0 - (LADDER.index(trial.setting) >= wanted))
        assert stop.chosen == Trial(setting=LADDER[wanted])
        assert [outcome.trial for outcome in history] == [Trial(setting=rung) for rung in LADDER[: wanted + 1]]


@given(needed=st.integers(1, len(GROUPS)), total=st.integers(1, len(GROUPS)))
def test_as_few_groups_as_will_do_go_back_to_float(needed: int, total: int):
    """Whatever their number: doubling finds one that will do, halving the least."""
    stop, history = simulate(lambda trial: 2.0 - (len(trial.reverted) >= needed), groups=GROUPS[:total])
    if needed > total:
        assert stop.chosen is None
        assert stop.reason == "the budget is missed even with every group reverted that can be"
        return
    assert stop.chosen is not None
    assert stop.chosen.reverted == GROUPS[:needed]
    assert len({len(outcome.trial.reverted) for outcome in history}) == len(history) - len(LADDER) + 1


def test_before_a_refusal_each_group_is_reverted_alone_with_the_weights_as_trained():
    stop, history = simulate(lambda trial: 3.0 - (trial.setting in MENDED), ladder=LADDER + MENDED)
    assert stop.chosen is None
    last = [outcome.trial for outcome in history[-len(GROUPS) :]]
    assert last == [Trial(setting=LADDER[0], reverted=(group,)) for group in GROUPS]
    assert len({outcome.trial for outcome in history}) == len(history)


def test_a_group_that_meets_the_budget_alone_is_taken_though_its_rank_was_wrong():
    wanted = Trial(setting=LADDER[0], reverted=GROUPS[6:7])
    stop, _history = simulate(lambda trial: 2.0 - (trial == wanted))
    assert stop == Stop(wanted, "one group of layers in floating point meets the budget")


def test_groups_are_reverted_from_the_setting_that_came_closest():
    def excess_of(trial: Trial) -> float:
        return 0.5 if trial.reverted else 2.0 + abs(LADDER.index(trial.setting) - 3)

    stop, _ = simulate(excess_of)
    assert stop.chosen is not None
    assert stop.chosen.setting == LADDER[3]


def test_of_settings_that_are_equally_close_the_faster_one_is_reverted():
    outcomes = [TrialOutcome(trial=Trial(setting=rung), excess=3.0, int8_share=1.0, met=False) for rung in LADDER]
    assert best(outcomes, SHARE) is outcomes[0]


def test_reverting_ends_where_too_little_is_left_in_int8():
    stop, history = simulate(lambda _trial: 2.0, lambda trial: 1.0 - 0.2 * len(trial.reverted))
    assert stop == Stop(None, "reverting more layers would leave too little in INT8")
    assert [len(outcome.trial.reverted) for outcome in history[len(LADDER) :][:3]] == [1, 2, 4]
    assert {len(outcome.trial.reverted) for outcome in history[len(LADDER) + 3 :]} == {1}


def test_a_network_that_cannot_be_quantised_enough_ends_without_reverting_anything():
    stop, history = simulate(lambda _trial: 0.0, lambda _trial: 0.1)
    assert stop == Stop(None, "no setting quantises enough of the network")
    assert len(history) == len(LADDER)


def test_weights_change_only_after_every_setting_and_before_any_layer_goes_back_to_float():
    ladder = LADDER + MENDED
    stop, history = simulate(lambda trial: 2.0 - (trial.setting in MENDED), ladder=ladder)
    assert [outcome.trial.setting for outcome in history] == [*LADDER, MENDED[0]]
    assert stop.chosen == Trial(setting=MENDED[0])
    assert stop.reason == "no setting meets the budget with the weights as trained; with changed weights it is met"
    stop, history = simulate(lambda trial: 2.0 - bool(trial.reverted) - (trial.setting in MENDED) / 2, ladder=ladder)
    assert [outcome.trial.setting for outcome in history[: len(ladder)]] == list(ladder)
    assert stop.chosen == Trial(setting=MENDED[0], reverted=GROUPS[:1])


def test_a_network_without_groups_ends():
    stop, _history = simulate(lambda _trial: 2.0, groups=())
    assert stop.chosen is None


def test_when_time_is_over_the_least_float_that_meets_the_budget_is_taken_or_nothing():
    def outcome(count: int, *, met: bool) -> TrialOutcome:
        return TrialOutcome(
            trial=Trial(setting=LADDER[0], reverted=GROUPS[:count]), excess=2.0 - met, int8_share=1, met=met
        )

    failed = [outcome(count, met=False) for count in (0, 1, 2)]
    assert least_reverted(failed) is None
    found = [*failed, outcome(8, met=True), outcome(4, met=True)]
    assert least_reverted(found) == found[4].trial


def test_the_search_is_short():
    """Seven settings and at most twice the logarithm of the number of groups."""
    groups = tuple(Group(graph="g", layers=(str(number),)) for number in range(100))
    for needed in (1, 37, 100):
        _stop, history = simulate(lambda trial, needed=needed: 2.0 - (len(trial.reverted) >= needed), groups=groups)
        assert len(history) <= len(LADDER) + 14


def test_the_ladder_covers_every_choice_that_there_is():
    for choice, of in ((Preset, "preset"), (Ranges, "ranges"), (Overflow, "overflow"), (FloatEnds, "float_ends")):
        assert {getattr(rung, of) for rung in LADDER} == set(choice)
    assert {rung.bias_correction for rung in LADDER} == set(BiasCorrection)
    assert len({rung.title for rung in LADDER}) == len(set(LADDER)) == len(LADDER)


def test_a_search_may_begin_at_the_safer_preset():
    assert ladder_from(Preset.PERFORMANCE) == LADDER
    assert {rung.preset for rung in ladder_from(Preset.MIXED)} == {Preset.MIXED}


def test_layers_go_back_to_float_from_a_setting_without_a_distillation():
    """Although the distilled one is nearer: each of these trials would be trained anew."""
    distilled = msgspec.structs.replace(MENDED[-1], distilled=True)
    ladder = (*MENDED, distilled)
    excess = dict(zip(ladder, (4.0, 3.0, 2.0), strict=True))
    _, history = simulate(lambda trial: excess[trial.setting] - len(trial.reverted), ladder=ladder)
    assert [outcome.trial.setting for outcome in history[:3]] == list(ladder)
    assert {outcome.trial.setting for outcome in history[3:]} == {MENDED[-1]}
