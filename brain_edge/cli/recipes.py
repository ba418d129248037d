"""`brain-edge recipes`."""

from __future__ import annotations

import click

from brain_edge.cli.failure import say
from brain_edge.cli.options import json_option, print_json
from brain_edge.verbs.build_side import build_side


@click.command("recipes")
@json_option
def command(as_json: bool) -> None:
    """List the models that `convert` knows by name, and whether their weights are public."""
    with build_side("recipes"):
        from brain_edge_conversion.recipes import load_recipe, recipe_names

        recipes = [load_recipe(name) for name in recipe_names()]
    if as_json:
        rows = [{"name": r.name, "summary": r.summary, "weights": r.weights, "members": r.members} for r in recipes]
        print_json(rows)
        return
    for recipe in recipes:
        say(f"{recipe.name:<22} {recipe.summary}", f"{'':<22} weights: {recipe.weights}")
