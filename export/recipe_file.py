"""The user's own values for the recipe: a TOML file with the names of `Recipe`, everything else as it is.

optimizer = "adamw"
lr = 0.001
augment = "trivialaugment"
"""

import difflib
import tomllib
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from sightline.runtime.errors import InputError

from .recipe import Recipe

# Steps of adaptive optimizers are of the size of the rate itself, whatever the gradient.
_ADAPTIVE_LR = 1e-3
_NAMES = tuple(field.name for field in fields(Recipe))


def read_recipe_file(path: str | Path) -> str:
    """Give the text of a recipe file once it was checked.

    Raises:
        InputError: It is missing, no TOML, names a key that no recipe has, or gives one a value out of its range.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"recipe '{path}' cannot be read: expected a TOML text file ({error})") from error
    apply_recipe(text, Recipe(), str(path))
    return text


def apply_recipe(text: str, base: Recipe, name: str = "recipe") -> Recipe:
    """Put a file's values in the place of a recipe's own.

    Args:
        text: TOML.
        base: What the program chose for the data.
        name: What messages call the file.

    Raises:
        InputError: See `read_recipe_file`.
    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"recipe '{name}' is no TOML: {error}") from error
    _check_names(given, name)
    if given.get("optimizer", "sgd") != "sgd":
        base = replace(base, lr=_ADAPTIVE_LR)
    try:
        recipe = msgspec.convert({**asdict(base), **given}, Recipe)
    except msgspec.ValidationError as error:
        raise InputError(f"recipe '{name}': {error}") from error
    return replace(recipe, lr=recipe.lr * recipe.lr_factor, lr_factor=1.0)


def _check_names(given: dict[str, Any], name: str) -> None:
    for key in given:
        if key not in _NAMES:
            near = difflib.get_close_matches(key, _NAMES, 1)
            hint = f"did you mean '{near[0]}'" if near else f"choose one of {', '.join(_NAMES)}"
            raise InputError(f"recipe '{name}' has an unknown key '{key}': {hint}")
