"""How the steps of a recipe stand, for whoever looks."""

from __future__ import annotations

import os

from pylm.recipes.file import read_recipe
from pylm.recipes.run import default_folder
from pylm.recipes.standing import Standing, Standings
from pylm.recipes.steps import instances_of

__all__ = ["show"]


def show(name: str, *, out: str | os.PathLike[str] | None = None, size: str | None = None) -> list[Standing]:
    """Return how each step of a recipe stands, in order.

    Args:
        name: a YAML file, or a recipe that comes with pylm.
        out: the folder of all that is made; runs/<name> if not given.
        size: which of the recipe's sizes; its first if not given.
    """
    recipe = read_recipe(name, size)
    standings = Standings(default_folder(recipe.name, recipe.size, out))
    return [standings.look(instance) for instance in instances_of(recipe)]
