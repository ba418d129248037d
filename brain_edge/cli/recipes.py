"""`brain-edge recipes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from brain_edge.cli.failure import say
from brain_edge.cli.options import json_option, print_json
from brain_edge.verbs.build_side import build_side

if TYPE_CHECKING:
    from brain_edge_conversion.recipe import Recipe


@click.command("recipes")
@json_option
def command(as_json: bool) -> None:
    """List the models that `convert` knows by name: ready, with weights to bring, and papers without public weights."""
    with build_side("recipes"):
        from brain_edge_conversion.recipes import load_recipe, recipe_names

        recipes = [load_recipe(name) for name in recipe_names()]
        groups = [*type(recipes[0].availability)]
    if as_json:
        print_json([_row(recipe) for recipe in recipes])
        return
    for group in groups:
        say(f"{group}", *(line for recipe in recipes if recipe.availability is group for line in _lines(recipe)), "")


def _lines(recipe: Recipe) -> tuple[str, ...]:
    """Return the lines of one recipe; a paper has no weights to speak of."""
    is_paper = recipe.availability.name == "PAPER"
    about = () if is_paper else (f"  {'':<26} weights: {recipe.weights}",)
    return (f"  {recipe.name:<26} {recipe.summary}", *about)


def _row(recipe: Recipe) -> dict[str, object]:
    return {
        "name": recipe.name,
        "summary": recipe.summary,
        "availability": recipe.availability.name.lower(),
        "weights": recipe.weights,
        "members": recipe.members,
    }
