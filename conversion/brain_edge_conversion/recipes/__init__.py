"""Published models, one module each: a module that defines `RECIPE` is found by its presence alone."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from brain_edge.errors import UsageError
from brain_edge.machine.nearest import did_you_mean

if TYPE_CHECKING:
    from brain_edge_conversion.recipe import Recipe


def recipe_names() -> tuple[str, ...]:
    """Return the names of all recipes, sorted. A module that starts with an underscore is shared by several recipes."""
    modules = (module.name for module in iter_modules(__path__) if not module.name.startswith("_"))
    return tuple(sorted(name.replace("_", "-") for name in modules))


def load_recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        UsageError: no recipe has the name. The message lists the recipes.
    """
    if name not in recipe_names():
        hint = did_you_mean(name, recipe_names())
        raise UsageError(f"there is no recipe {name!r}; there are {', '.join(recipe_names())}{hint}")
    recipe: Recipe = import_module(f"{__name__}.{name.replace('-', '_')}").RECIPE
    return recipe
