"""The page of operator coverage: what is recorded holds together, and what was not measured is said."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from brain_edge.image.phantom import Phantom, make_study
from brain_edge.machine.options import RuntimeOptions
from brain_edge_conversion.convert.convert import ConvertOptions, convert
from brain_edge_conversion.recipe import Variant
from brain_edge_conversion.recipes import load_recipe, recipe_names

if TYPE_CHECKING:
    from pathlib import Path

from benchmarks import coverage_of_all, recipe_coverage
from benchmarks.harness.coverage_page import coverage_page
from benchmarks.harness.coverage_record import RecipeCoverage, read_coverage, write_coverage
from benchmarks.report.recipe_age import Ages, RecipeAge

RECORDED = read_coverage()
NAME = "unet-baseline-m1"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> RecipeCoverage:
    """The smallest recipe, measured as the script does it."""
    source = load_recipe(NAME).variant(Variant())
    study = make_study(Phantom(shape=(48, 56, 40), spacing_mm=4.0), [each.name for each in source.spec.inputs])
    target = tmp_path_factory.mktemp("package") / "fp32"
    package = convert(source, {"model": None}, study, target, ConvertOptions())
    return recipe_coverage.measure(package, "a phantom", RuntimeOptions(threads=1), recipe_coverage.SpeedTest(2, 16))


def test_the_layers_of_a_network_add_up(measured: RecipeCoverage):
    (graph,) = measured.graphs
    assert sum(group.share for group in graph.layers) == pytest.approx(1)
    assert graph.int8_share == pytest.approx(sum(group.share for group in graph.layers if group.is_integer))
    assert sum(group.layers for group in graph.layers) == 11  # two of each block, up and down, and the classifier
    assert graph.int8_share is not None
    assert graph.int8_share > 0.5
    assert all(bool(group.why_float) != group.is_integer for group in graph.layers)


def test_cost_is_that_of_the_window_and_speed_of_the_cube(measured: RecipeCoverage):
    (graph,) = measured.graphs
    assert graph.speed is not None
    assert graph.shape == (1, 4, 64, 64, 64)
    assert graph.share_shape == graph.shape, "kernels are chosen by size"
    assert graph.speed.shape[2:] == (32, 32, 32)  # what it was traced with is the least
    assert {len(samples) for samples in graph.speed.samples_ms.values()} == {2}


def test_a_record_is_read_back_and_becomes_rows(measured: RecipeCoverage, tmp_path: Path):
    assert write_coverage(measured, tmp_path).name == f"{NAME}.json"
    recorded = read_coverage(tmp_path)
    assert recorded == {NAME: measured}
    page = "\n".join(coverage_page((NAME, "vox2vox"), recorded, Ages({})))
    assert "| `vox2vox` | not measured |" in page
    assert f"| `{NAME}` | `model` | 0.0621 M |" in page
    assert "- Weights: random. Compared on: a phantom." in page
    assert "% (64^3) | " in page
    old = msgspec.structs.replace(measured.graphs[0], share_shape=())
    page = "\n".join(coverage_page((NAME,), {NAME: msgspec.structs.replace(measured, graphs=(old,))}, Ages({})))
    assert "% (32^3) | " in page


def test_what_was_recorded_before_its_recipe_changed_is_marked(measured: RecipeCoverage):
    later = Ages({NAME: RecipeAge("0" * 64, datetime(2100, 1, 1, tzinfo=UTC), "it has another network")})
    page = "\n".join(coverage_page((NAME,), {NAME: measured}, later))
    assert f"| `{NAME}` (stale) | `model` |" in page
    assert f"{NAME}, 2100-01-01 00:00 UTC: it has another network." in page


def test_what_was_not_quantised_is_said(measured: RecipeCoverage):
    graph = msgspec.structs.replace(measured.graphs[0], int8_share=None, layers=(), speed=None)
    recorded = {NAME: msgspec.structs.replace(measured, graphs=(graph,))}
    page = "\n".join(coverage_page((NAME,), recorded, Ages({}))).splitlines()
    (row,) = [line for line in page if line.startswith(f"| `{NAME}`")]
    assert row.count("not measured") == 3
    assert not [line for line in page if "| INT8 |" in line]


def test_why_something_was_not_measured_stands_in_the_section(measured: RecipeCoverage):
    noted = {NAME: msgspec.structs.replace(measured, note="INT8 was not measured: why")}
    page = list(coverage_page((NAME,), noted, Ages({})))
    assert "- INT8 was not measured: why." in page
    assert not [line for line in coverage_page((NAME,), {NAME: measured}, Ages({})) if line == "- ."]


@pytest.mark.parametrize("shape", [(1, 4, 16, 18, 20), (2, 4, 32, 30), (20, 1, 32, 32), (3, 8)])
def test_what_is_timed_is_a_head_or_slices_of_one_or_noise(shape: tuple[int, ...], tmp_path: Path):
    batch = np.load(recipe_coverage._phantom(shape, tmp_path / "batch.npy"))
    assert batch.shape == shape
    assert batch.dtype == np.float32
    assert all(each.std() > 0.1 for each in batch)  # no slice is air
    if batch.ndim > 2 and shape[1] > 1:
        assert not np.array_equal(batch[:, 0], batch[:, 1])


class TestAllRecipesInTurn:
    def options(self, tmp_path: Path, **changed: Any) -> Any:
        data = {name: tmp_path / f"{name}.nii.gz" for name in ("T1", "T1C", "T2", "FLAIR")}
        usual: dict[str, Any] = {"packages": tmp_path, "data": data, "compared_on": "a case", "threads": 1, "rounds": 2}
        return coverage_of_all.CoverageOptions(**{**usual, "memory_gib": 1.0, "folder": tmp_path, **changed})

    def test_a_step_that_needs_more_memory_than_it_may_take_is_told_from_one_that_fails(self, tmp_path: Path):
        options = self.options(tmp_path)
        many = coverage_of_all._limited([sys.executable, "-c", "import numpy; numpy.ones(2**28)"], options)
        assert many.code != 0
        assert many.lacked_memory
        wrong = coverage_of_all._limited([sys.executable, "-c", "raise SystemExit('error: parity')"], options)
        assert wrong.code == 1
        assert not wrong.lacked_memory
        assert not coverage_of_all._limited(
            [sys.executable, "-c", "print('out of memory, not')"], options
        ).lacked_memory

    def test_weights_that_can_be_fetched_are_and_all_others_are_random(self, tmp_path: Path):
        data = self.options(tmp_path).data
        for name, is_random in (("deepbet", False), ("brainmage", True), ("spin", True)):
            recipe = load_recipe(name)
            command = coverage_of_all._conversion(recipe, recipe.variant(Variant()), data)
            assert ("--random-weights" in command) is is_random, name

    def test_a_recipe_is_compared_on_its_sequences_or_on_what_it_names(self, tmp_path: Path):
        options = self.options(tmp_path)
        words = {}
        for name in ("spin", "swin-unetr", "deepbet", "spade"):
            recipe = load_recipe(name)
            model = recipe.variant(Variant())
            given = coverage_of_all._conversion(recipe, model, options.data).count("--parity-data")
            words[name] = (given, coverage_of_all.compared_on(recipe, model, options))
        assert words["spin"] == (1, "a case")
        assert words["swin-unetr"] == (4, "a case")
        assert words["deepbet"] == (0, f"the head of the recipe, {load_recipe('deepbet').parity_input}")
        assert words["spade"] == (0, "a generated head")

    def test_the_smallest_comes_first(self):
        assert coverage_of_all.smallest_first(["spin", "unet-baseline-m1", "meshnet-tissue"]) == [
            "meshnet-tissue",
            "unet-baseline-m1",
            "spin",
        ]


def test_an_unknown_field_of_a_record_is_refused(measured: RecipeCoverage, tmp_path: Path):
    file = write_coverage(measured, tmp_path)
    file.write_bytes(file.read_bytes().replace(b'"threads"', b'"therads"'))
    with pytest.raises(msgspec.ValidationError, match="therads"):
        read_coverage(tmp_path)


def test_records_belong_to_recipes():
    assert set(RECORDED) <= set(recipe_names())
    assert {record.recipe for record in RECORDED.values()} == set(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_what_is_recorded_is_within_the_limits_of_parity(name: str):
    """1e-4 for convolutions, 5e-4 for attention, and 99.99 % of the voxels."""
    for graph in RECORDED[name].parity.graphs:
        assert graph.relative_error <= (5e-4 if name == "swin-unetr" else 1e-4)
        assert graph.same_label_share >= 0.9999
