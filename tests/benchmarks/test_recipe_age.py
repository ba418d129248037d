"""Records that are older than what their recipe computes are marked; a recipe cannot change without its entry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from test_benchmark_report import MACHINE, everything
from test_whole_cases import RECORDED, entry, run
from tiny_package import SPEC

from benchmarks.harness.cell_record import read_cells
from benchmarks.report.page import benchmark_page
from benchmarks.report.recipe_age import Ages, RecipeAge, read_recipe_ages, stages_sha256
from benchmarks.report.summaries import machines
from benchmarks.report.whole_cases import read_whole_cases
from brain_edge_conversion.recipe import Variant
from brain_edge_conversion.recipes import load_recipe, recipe_names

RECIPES = read_recipe_ages()
CHANGED = datetime(2026, 1, 1, 12, tzinfo=UTC)
OLD = {"vox2vox": RecipeAge("0" * 64, CHANGED, "its input is clipped")}


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_computes_what_its_entry_says(name):
    found = stages_sha256(load_recipe(name).variant(Variant()).spec)
    assert found == RECIPES[name].stages, f"{name} has changed: say in benchmarks/recipes.toml since when, and what"


def test_every_recipe_with_a_record_has_an_entry():
    recorded = {each.cell.subject for each in read_cells(RECORDED)} | {
        each.subject for each in read_whole_cases(RECORDED)
    }
    assert recorded & set(recipe_names()) <= set(RECIPES)


def test_steps_networks_and_executions_are_in_the_digest_and_words_are_not():
    stage = SPEC.stages[0]
    renamed = msgspec.structs.replace(SPEC, name="another")
    stepped = msgspec.structs.replace(SPEC, stages=(msgspec.structs.replace(stage, before=stage.before[1:]),))
    assert stages_sha256(renamed) == stages_sha256(SPEC)
    assert stages_sha256(stepped) != stages_sha256(SPEC)


def test_what_was_measured_before_the_change_is_stale_and_what_came_with_it_is_not():
    ages = Ages(OLD)
    assert ages.marked("vox2vox", CHANGED) == "vox2vox"
    assert ages.marked("a network of no recipe", CHANGED - timedelta(days=9)) == "a network of no recipe"
    assert list(ages.words()) == []
    assert ages.marked("vox2vox", CHANGED - timedelta(seconds=1)) == "vox2vox (stale)"
    (words,) = ages.words()
    assert words.endswith("vox2vox, 2026-01-01 12:00 UTC: its input is clipped.")


def test_a_page_marks_the_old_run_and_not_the_new_one():
    old, new = (run(entry("package", 1), hours=hours) for hours in (11, 13))
    found = machines([], [MACHINE])
    assert "| vox2vox (stale) " in benchmark_page(found, [], None, [old], OLD)
    fresh = benchmark_page(found, [], None, [new], OLD)
    assert "| vox2vox " in fresh
    assert "tale" not in fresh


def test_a_cell_that_is_older_than_its_recipe_is_marked_in_every_table():
    """Deepbet and BrainMaGe have cells of all kinds in the tests of the report."""
    later = {name: RecipeAge("0" * 64, datetime(2030, 1, 1, tzinfo=UTC), "c") for name in ("deepbet", "brainmage")}
    fresh, page = (benchmark_page(machines(everything()), [], None, [], recipes) for recipes in ({}, later))
    assert "stale" not in fresh
    for line, marked in zip(fresh.splitlines(), page.splitlines(), strict=False):
        if line.startswith(("| deepbet", "| brainmage", "| BrainMaGe, network alone")) and "GPU" not in line:
            assert "(stale)" in marked, line
    assert "Stale: measured before" in page


def test_a_machine_without_cells_has_its_other_records_and_nothing_else():
    page = benchmark_page(machines([], [MACHINE]), [], None, [run(entry("package", 1))])
    assert "no recorded runs of cells" in page
    assert "### Whole cases, file to file" in page
    assert "### Accuracy, latency and memory" not in page
