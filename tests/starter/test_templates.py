"""A starter is a specification as it stands, and a JSON file that editors can check."""

from __future__ import annotations

import json

import jsonschema
import pytest

from brain_edge.cli.spec import LIKE
from brain_edge.spec import Activation
from brain_edge_conversion.specification import json_schema, spec_from_json
from brain_edge_conversion.starter.look import NetworkFacts
from brain_edge_conversion.starter.templates import Like, starter
from brain_edge_conversion.starter.write import as_text, name_of

VALIDATOR = jsonschema.Draft202012Validator(json_schema())
FACTS = {
    "logits": NetworkFacts(2, 4, Activation.NONE, (64, 64, 64), 16),
    "any size": NetworkFacts(1, 2, Activation.SOFTMAX, (64, 64, 64), 1),
    "one size": NetworkFacts(4, 3, Activation.SIGMOID, (96, 96, 96), None),
    "one channel": NetworkFacts(1, 1, Activation.NONE, (64, 64, 64), 8),
    "slices": NetworkFacts(3, 2, Activation.NONE, (64, 64), 16),
    "slices of one size": NetworkFacts(1, 5, Activation.NONE, (224, 224), None),
}


@pytest.mark.parametrize("facts", FACTS.values(), ids=FACTS)
@pytest.mark.parametrize("like", Like)
def test_every_starter_is_a_specification_and_keeps_to_the_schema(like: Like, facts: NetworkFacts):
    text = as_text(starter("mine", like, facts))
    spec = spec_from_json(text, "starter")
    VALIDATOR.validate(json.loads(text))
    (stage,) = spec.stages
    assert (stage.network.channels_in, stage.network.channels_out) == (facts.channels_in, facts.channels_out)
    assert len(spec.inputs) == facts.channels_in
    if facts.ends_in is not Activation.NONE:
        assert stage.network.activation is Activation.NONE


def test_the_command_offers_what_there_is():
    assert tuple(Like) == LIKE


def test_lists_of_numbers_stay_on_a_line():
    assert as_text({"shape": [64, 64, 64], "names": ["a"]}) == (
        '{\n  "shape": [64, 64, 64],\n  "names": [\n    "a"\n  ]\n}\n'
    )


@pytest.mark.parametrize(
    ("source", "name"),
    [("mynet:MyNetwork", "mynetwork"), ("a/b c/My Net.onnx", "my-net"), ("net.pth.tar", "net"), (":", "network")],
)
def test_a_model_is_named_after_its_source(source: str, name: str):
    assert name_of(source) == name


def test_remarks_are_read_over_and_nothing_else_is():
    plain = starter("mine", Like.PLAIN, FACTS["logits"])
    assert spec_from_json(json.dumps({"$schema": "spec-schema.json", **plain}), "there") == spec_from_json(
        json.dumps(plain), "there"
    )
    assert list(VALIDATOR.iter_errors({**plain, "remark": "none"}))
