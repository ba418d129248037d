"""A specification survives JSON, holds together, and says what is wrong with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from strategies import specs
from tiny_package import CASCADE, RESTORE, SPEC

from brain_edge.errors import PackageError
from brain_edge.image.contrast import Contrast
from brain_edge.image.resample import Interpolation
from brain_edge.spec import (
    Label,
    Missing,
    ModelSpec,
    Network,
    Plausible,
    PlausibleLabel,
    Sequence,
    SlicesAlong,
    Task,
    canonical_json,
)
from brain_edge.spec.steps import (
    AfterStep,
    AppendForeground,
    AppendStage,
    Argmax,
    AverageStages,
    BeforeStep,
    Clip,
    Constants,
    CropAroundStage,
    CropToStage,
    FillHoles,
    FitPercentile,
    JoinStages,
    LargestComponent,
    MinimumVolume,
    Normalise,
    RescaleToUnit,
    Restore,
    Step,
    Threshold,
    VoteStages,
)
from brain_edge_conversion.recipe import Variant
from brain_edge_conversion.recipes import load_recipe, recipe_names
from brain_edge_conversion.recipes.deepbet import SPEC as DEEPBET
from brain_edge_conversion.specification import json_schema, spec_from_json

replace = msgspec.structs.replace

SPECS = Path(__file__).parents[1] / "specs"
RECIPES = sorted(path.stem for path in SPECS.glob("*.json"))
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def changed(spec: ModelSpec, change) -> bytes:
    """The JSON of a spec after `change` has edited its plain dictionaries."""
    plain = json.loads(canonical_json(spec))
    change(plain)
    return json.dumps(plain).encode()


class TestRoundTrip:
    @given(specs())
    @settings(max_examples=60)
    def test_any_spec_comes_back_equal(self, spec):
        assert spec_from_json(canonical_json(spec), "there") == spec

    @given(specs())
    @settings(max_examples=50)
    def test_any_spec_satisfies_the_schema(self, spec):
        VALIDATOR.validate(json.loads(canonical_json(spec)))

    @pytest.mark.parametrize("spec", [DEEPBET, SPEC, CASCADE], ids=lambda spec: spec.name)
    def test_real_specs_do_both(self, spec):
        VALIDATOR.validate(json.loads(canonical_json(spec)))
        assert spec_from_json(canonical_json(spec), "there") == spec

    @given(specs())
    @settings(max_examples=50)
    def test_canonical_json_has_one_spelling(self, spec):
        """Python's own encoder, keys sorted, agrees; so does the JSON of what was read from another spelling."""
        text = canonical_json(spec)
        plain = json.loads(text)
        scattered = json.dumps(plain, indent=3, sort_keys=False).encode()
        assert canonical_json(spec_from_json(scattered, "there")) == text
        keys = [*plain]
        assert keys == sorted(keys)
        assert b"\n" not in text

    def test_a_contrast_is_one_of_those_that_there_are(self):
        plain = msgspec.to_builtins(SPEC)
        plain["inputs"][0]["contrasts"] = ["T1"]
        with pytest.raises(PackageError, match=r"inputs\[0\]\.contrasts\[0\]: .*, got \"T1\"; did you mean T1w\?"):
            spec_from_json(msgspec.json.encode(plain), "there")

    @pytest.mark.parametrize("name", RECIPES)
    def test_specs_of_packages_that_exist_are_spelt_as_they_were(self, name):
        """What `tests/specs` holds was written before the specification had slices, regions and members of a vote.

        Two recipes are there twice, also as they were before they clipped what cubic interpolation overshoots.
        """
        kept = (SPECS / f"{name}.json").read_bytes().strip()
        assert canonical_json(spec_from_json(kept, name)) == kept

    @pytest.mark.parametrize("name", sorted(set(RECIPES) & set(recipe_names())))
    def test_recipes_still_make_the_packages_that_they_made(self, name):
        kept = (SPECS / f"{name}.json").read_bytes().strip()
        assert canonical_json(load_recipe(name).variant(Variant()).spec) == kept

    def test_canonical_json_of_the_tiny_spec_is_this(self):
        """Digests of packages rest on it: a change here makes another digest of every package."""
        assert canonical_json(SPEC.stages[0].before[:2]) == (
            b'[{"axes":"RAS","op":"orient","version":1},{"interpolation":"linear","op":"resample_to_spacing",'
            b'"spacing_mm":[4.0,4.0,4.0],"version":1}]'
        )
        assert canonical_json(SPEC.stages[0].network) == (
            b'{"activation":"none","channels_in":1,"channels_out":2,"execution":{"kind":"whole_volume"},'
            b'"flips":[[]],"graphs":["tiny"]}'
        )


STEPS = {
    step
    for place in Step.__subclasses__()
    for step in place.__subclasses__()
    if step.__module__.startswith("brain_edge.spec.steps.")
}


class TestOperations:
    def test_every_step_is_in_one_of_the_unions(self):
        """A step that nobody can read back would be written into a package once and never opened."""
        assert {*BeforeStep.__args__, *AfterStep.__args__} == STEPS

    def test_each_has_a_tag_of_its_own_in_snake_case(self):
        tags = {kind: kind.__struct_config__.tag for kind in STEPS}
        assert len(set(tags.values())) == len(tags)
        assert tags[FitPercentile] == "fit_percentile"
        assert tags[Argmax] == "argmax"

    def test_a_step_can_neither_be_changed_nor_take_an_unknown_parameter(self):
        clip: Any = Clip
        made = clip()
        with pytest.raises(AttributeError, match="immutable"):
            made.lower = 3.0
        with pytest.raises(TypeError, match="Unexpected keyword argument 'minimum'"):
            clip(minimum=3.0)


def stage(plain, position=0):
    return plain["stages"][position]


STRANGE = {
    "operation": (
        lambda p: stage(p)["before"][0].update(op="sharpen"),
        "stages[0].before[0].op: expected one of append_foreground,",
    ),
    "operation after the network": (
        lambda p: stage(p)["after"].append({"op": "orient", "axes": "RAS"}),
        'got "orient"',
    ),
    "version": (lambda p: stage(p)["before"][0].update(version=2), "version: expected 1, got 2; a newer brain-edge"),
    "field of a step": (
        lambda p: stage(p)["before"][0].update(sharp=1),
        "before[0].sharp: unknown field, expected one of axes",
    ),
    "field of the network": (lambda p: stage(p)["network"].update(sharp=1), "stages[0].network.sharp: unknown field"),
    "field of the spec": (lambda p: p.update(sharp=1), "sharp: unknown field, expected one of name, task"),
    "missing parameter": (lambda p: stage(p)["before"][0].pop("axes"), "before[0].axes: expected this field, got none"),
    "missing labels": (lambda p: p.pop("labels"), "labels: expected this field, got none"),
    "number out of range": (
        lambda p: stage(p)["before"][2].update(percent=101),
        "percent: expected a number <= 100.0, got 101",
    ),
    "text for a number": (
        lambda p: stage(p)["network"].update(channels_in="1"),
        'channels_in: expected a whole number, got "1"',
    ),
    "name with a path": (
        lambda p: stage(p)["network"].update(graphs=["../evil"]),
        "graphs[0]: expected a text matching regex",
    ),
    "execution": (
        lambda p: stage(p)["network"].update(execution={"kind": "patches"}),
        "execution.kind: expected one of noise_slices,",
    ),
    "no input": (lambda p: p.update(inputs=[]), "inputs: expected a list of length >= 1, got []"),
    "task": (lambda p: p.update(task="diagnosis"), 'tumour, synthesis, got "diagnosis"'),
    "label 256": (
        lambda p: p["labels"][0].update(value=256),
        "labels[0].value: expected a whole number <= 255, got 256",
    ),
    "flip of a fourth axis": (
        lambda p: stage(p)["network"].update(flips=[[3]]),
        "flips[0][0]: expected a whole number <= 2, got 3",
    ),
}


class TestStrangeJson:
    @pytest.mark.parametrize(("change", "words"), STRANGE.values(), ids=STRANGE)
    def test_is_refused_by_the_reader_and_by_the_schema(self, change, words):
        text = changed(SPEC, change)
        sentence = rf"model\.xml: this is not a model specification that this version reads: .*{re.escape(words)}"
        with pytest.raises(PackageError, match=sentence):
            spec_from_json(text, "model.xml")
        assert not VALIDATOR.is_valid(json.loads(text))

    def test_the_message_says_where(self):
        with pytest.raises(PackageError, match=r"reads: stages\[0\]\.before\[0\]\.version: "):
            spec_from_json(changed(SPEC, STRANGE["version"][0]), "model.xml")

    @pytest.mark.parametrize(
        "text",
        [b"", b"{", b"\xff", b"[]", b"null", b'{"name":' * 5000, b"[" * 10**5],
        ids=["empty", "half", "no UTF-8", "array", "null", "deep", "deeper"],
    )
    def test_what_is_no_json_of_ours_is_refused(self, text):
        with pytest.raises(PackageError, match="not a model specification"):
            spec_from_json(text, "model.xml")


def with_steps(*, before=None, after=None, network=None, spec=SPEC, position=-1) -> ModelSpec:
    """A spec with other steps in one stage."""
    stages = list(spec.stages)
    old = stages[position]
    stages[position] = replace(
        old,
        before=old.before if before is None else before,
        after=old.after if after is None else after,
        network=network or old.network,
    )
    return replace(spec, stages=tuple(stages))


LINEAR = Restore(interpolation=Interpolation.LINEAR)
FOUR = Network(graphs=("tiny",), channels_in=1, channels_out=4)

PARALLEL = replace(
    CASCADE,
    stages=(
        replace(CASCADE.stages[0], after=(Argmax(), RESTORE)),
        replace(CASCADE.stages[0], name="brain", after=(Argmax(), RESTORE)),
    ),
)
"""Two members that both leave labels on the caller's grid."""

PROBABLE = replace(PARALLEL, stages=(replace(PARALLEL.stages[0], after=(RESTORE,)), PARALLEL.stages[1]))
"""The first of them leaves probabilities."""


def with_labels_blended() -> ModelSpec:
    """A generator: what the tiny network gives, restored and not decided."""
    stages = (replace(SPEC.stages[0], after=(LINEAR,)),)
    return replace(SPEC, task=Task.SYNTHESIS, stages=stages, labels=(), plausible=Plausible())


MISFITS = {
    "dangling stage": (
        lambda: with_steps(before=(CropToStage(stage="box"),)),
        "stage 'brain' crops to stage 'box', which does not run earlier",
    ),
    "stage that crops to itself": (
        lambda: with_steps(spec=CASCADE, position=0, before=(CropToStage(stage="box"), *CASCADE.stages[0].before)),
        "stage 'box' crops to stage 'box', which does not run earlier",
    ),
    "statistic that nothing fits": (
        lambda: with_steps(before=(RescaleToUnit(lower=0.0, upper="high"),)),
        "stage 'brain' uses the statistic 'high', which no earlier step has fitted",
    ),
    "statistic that is fitted later": (
        lambda: with_steps(before=(Clip(upper="late"), FitPercentile(name="late", percent=99.0))),
        "uses the statistic 'late', which no earlier step has fitted",
    ),
    "no Restore": (lambda: with_steps(after=(Argmax(),)), "must restore its result to the caller's grid exactly once"),
    "two": (lambda: with_steps(after=(Argmax(), RESTORE, RESTORE)), "to the caller's grid exactly once"),
    "two labels of one value": (
        lambda: replace(SPEC, labels=(Label(value=1, name="brain"), Label(value=1, name="head"))),
        "label '1' occurs twice",
    ),
    "two sequences of one name": (
        lambda: replace(SPEC, inputs=(Sequence(name="T1"), Sequence(name="T1"))),
        "sequence 'T1' occurs twice",
    ),
    "a contrast twice": (
        lambda: replace(SPEC, inputs=(Sequence(name="T1", contrasts=(Contrast.T1W, Contrast.T1W)),)),
        "in the sequence 'T1', contrast 'T1w' occurs twice",
    ),
    "any contrast and one of them": (
        lambda: replace(SPEC, inputs=(Sequence(name="T1", contrasts=(Contrast.T1W, Contrast.ANY)),)),
        "sequence 'T1' takes T1w, any; expected T1w, T1C, T2w, FLAIR, PDw, T2starw, or any alone",
    ),
    "a contrast that no model is made for": (
        lambda: replace(SPEC, inputs=(Sequence(name="T1", contrasts=(Contrast.OTHER,)),)),
        "sequence 'T1' takes other; expected T1w,",
    ),
    "two stages of one name": (
        lambda: replace(CASCADE, stages=(CASCADE.stages[0], replace(CASCADE.stages[0], name="box"))),
        "stage 'box' occurs twice",
    ),
    "range of a label that is not there": (
        lambda: replace(SPEC, plausible=Plausible(labels=(PlausibleLabel(label=2, volume_ml=(0.0, 1.0)),))),
        r"plausible ranges name labels that are not in the label table: \[2\]",
    ),
    "more sequences than channels": (
        lambda: replace(SPEC, inputs=(Sequence(name="T1"), Sequence(name="T2"))),
        "stage 'brain' has 1 channels_in, but the model has 2 sequences",
    ),
    "labels for another number of channels": (
        lambda: with_steps(after=(Argmax(values=(0, 1, 1)), RESTORE)),
        "stage 'brain' needs a label for each of 2 or more channels, got 3 for 2",
    ),
    "argmax of one channel": (
        lambda: with_steps(after=(Argmax(), RESTORE), network=replace(FOUR, channels_out=1)),
        "2 or more channels, got 0 for 1",
    ),
    "threshold of a channel that is not there": (
        lambda: with_steps(after=(Threshold(channel=2, above=0.5), RESTORE)),
        "stage 'brain' thresholds channel 2, but has only channels 0 to 1",
    ),
    "label without a name": (
        lambda: with_steps(after=(Argmax(), RESTORE), network=FOUR),
        r"stage 'brain' writes labels that are not in the label table: \[2, 3\]",
    ),
    "hole filled with a label without a name": (
        lambda: with_steps(after=(Argmax(), RESTORE, FillHoles(value=9))),
        r"writes labels that are not in the label table: \[9\]",
    ),
    "probabilities instead of labels": (
        lambda: with_steps(after=(LINEAR,)),
        "stage 'brain' does not end with labels: decide with Argmax or Threshold, restore with nearest",
    ),
    "labels blended on the way back": (lambda: with_steps(after=(Argmax(), LINEAR)), "does not end with labels"),
    "clean-up of probabilities": (
        lambda: with_steps(after=(LargestComponent(), Argmax(), RESTORE)),
        "stage 'brain' needs labels for the step LargestComponent, got none",
    ),
    "first stage without labels": (
        lambda: with_steps(spec=CASCADE, position=0, after=()),
        "stage 'box' does not end with labels: .*; stage 'brain' crops to it",
    ),
    "channel of a stage that is not there": (
        lambda: with_steps(before=(AppendStage(stage="box"),)),
        "stage 'brain' uses stage 'box', which does not run earlier",
    ),
    "box around a stage that comes later": (
        lambda: with_steps(spec=CASCADE, position=0, before=(CropAroundStage(stage="brain", shape=(8, 8, 8)),)),
        "stage 'box' crops to stage 'brain', which does not run earlier",
    ),
    "channel that the network does not take": (
        lambda: with_steps(before=(AppendForeground(),)),
        "stage 'brain' has 1 channels_in, but its steps give 2 channels",
    ),
    "neighbours that the network does not take": (
        lambda: with_steps(network=replace(SPEC.stages[0].network, execution=SlicesAlong(axis=0, neighbours=2))),
        "stage 'brain' has 1 channels_in, but its steps give 5 channels",
    ),
    "constants for another number of sequences": (
        lambda: with_steps(before=(Constants(name="mean", values=(1.0, 2.0)),)),
        "stage 'brain' has 2 constants for 1 channels; give one for each",
    ),
    "statistic of fewer channels than there are now": (
        lambda: with_steps(
            before=(FitPercentile(name="top", percent=99.0), AppendForeground(), Normalise(divide="top"))
        ),
        "stage 'brain' uses the statistic 'top' of 1 channels for 2 channels; put the step before the steps",
    ),
    "weights for other members": (
        lambda: with_steps(network=replace(SPEC.stages[0].network, member_weights=(1.0, 2.0))),
        "stage 'brain' has 2 member_weights for 1 graphs",
    ),
    "vote of what are no labels": (
        lambda: with_steps(spec=PROBABLE, after=(Argmax(), RESTORE, VoteStages(stages=("box",)))),
        "stage 'box' does not end with labels: .*; stage 'brain' uses it",
    ),
    "mean of labels": (
        lambda: with_steps(spec=PARALLEL, after=(RESTORE, AverageStages(stages=("box",)), Argmax())),
        "stage 'brain' averages with stage 'box', but labels have no average; use VoteStages",
    ),
    "two label maps": (
        lambda: with_steps(spec=PARALLEL, after=(Argmax(), RESTORE, JoinStages(stages=("box",)))),
        "stage 'brain' ends with 2 label maps, expected one",
    ),
    "rule that writes a label without a name": (
        lambda: with_steps(after=(Argmax(), RESTORE, MinimumVolume(of=(1,), voxels=9, replacement=7))),
        r"writes labels that are not in the label table: \[7\]",
    ),
    "first sequence that may be missing": (
        lambda: replace(SPEC, inputs=(Sequence(name="T1", missing=Missing.ZERO),)),
        "sequence 'T1' may not be missing, because it gives the grid",
    ),
    "labels of a generator": (
        lambda: replace(SPEC, task=Task.SYNTHESIS),
        "a model of the task synthesis makes images; remove its label table and label ranges",
    ),
    "table of a generator": (
        lambda: replace(with_labels_blended(), labels=SPEC.labels),
        "a model of the task synthesis makes images; remove its label table and label ranges",
    ),
}


class TestPartsThatDoNotFit:
    @pytest.mark.parametrize(("build", "words"), MISFITS.values(), ids=MISFITS)
    def test_are_refused_when_built(self, build, words):
        with pytest.raises(ValueError, match=words):
            build()

    def test_are_refused_when_read(self):
        text = changed(SPEC, lambda plain: stage(plain)["after"].pop(1))
        with pytest.raises(PackageError, match="to the caller's grid exactly once"):
            spec_from_json(text, "model.xml")

    def test_a_statistic_of_an_earlier_stage_may_be_used(self):
        assert CASCADE.stages[1].before[-1] == RescaleToUnit(lower="low", upper="high")

    def test_labels_may_be_blended_and_decided_again(self):
        """HD-BET's way back: the mask of each label, linear, above one half."""
        with_steps(after=(Argmax(), LINEAR, Threshold(channel=0, above=0.5)))


class TestWhatASpecKnows:
    def test_graphs_are_in_the_order_in_which_they_run(self):
        assert CASCADE.graphs == ("first", "second")
        assert DEEPBET.graphs == ("box", "brain")

    def test_passes_are_members_times_mirrorings(self):
        network = Network(graphs=("a", "b", "c"), channels_in=1, channels_out=2, flips=((), (0,), (1, 2)))
        assert network.passes == 9

    def test_only_what_a_patient_may_lack_may_be_empty(self):
        empty = {task: replace(SPEC, task=task).may_be_empty for task in Task if task is not Task.SYNTHESIS}
        assert empty == {Task.SKULL_STRIPPING: False, Task.TISSUE: False, Task.LESION: True, Task.TUMOUR: True}

    def test_label_names_leave_background_out(self):
        assert SPEC.label_names() == {1: "brain"}
