"""The values that a search tries; docs/training.md says them in a table."""

import tomllib
from typing import TYPE_CHECKING, Any

from .recipe import Recipe

if TYPE_CHECKING:
    import optuna

# Log-uniform between the two.
_SCALED = {"lr_factor": (0.1, 10.0), "weight_decay": (1e-5, 1e-2)}
# Uniform between the two.
_EVEN = {"crop_area": (0.1, 0.7), "colour": (0.0, 0.6), "mix_up": (0.0, 0.5), "label_smoothing": (0.0, 0.2)}
_PRETRAINED = {"frozen_share": (0.0, 0.6)}
_CHOICES: dict[str, tuple[str, ...]] = {
    "augment": ("none", "trivialaugment", "randaugment"),
    "schedule": ("cosine", "one-cycle", "step"),
}
_LOSSES = {False: ("cross-entropy", "focal"), True: ("bce", "focal", "mse")}


def propose(trial: "optuna.Trial", recipe: str, fresh: bool, several: bool) -> str:
    """Draw the values of a trial.

    Args:
        trial: Whose they are.
        recipe: The user's own TOML; what it names is not searched.
        fresh: Whether the network starts from nothing.
        several: Whether a photo may have several labels.

    Returns:
        The recipe of the trial, TOML.
    """
    lines = [recipe]
    for name, bounds in (_SCALED | _EVEN | ({} if fresh else _PRETRAINED)).items():
        if not _given(name, recipe):
            value = trial.suggest_float(name, *bounds, log=name in _SCALED)
            lines.append(f"{name} = {value!r}")
    for name, choices in (_CHOICES | {"loss": _LOSSES[several]}).items():
        if not _given(name, recipe):
            lines.append(f'{name} = "{trial.suggest_categorical(name, choices)}"')
    return "\n".join(lines)


def usual_values(recipe: str, fresh: bool, several: bool) -> dict[str, Any]:
    """Give the values that the program takes of itself, for the trial that begins a search."""
    base = Recipe.for_data(1000, not fresh)
    names = [*_EVEN, "weight_decay", *_CHOICES, *(() if fresh else _PRETRAINED)]
    values: dict[str, Any] = {name: getattr(base, name) for name in names}
    values |= {"lr_factor": 1.0, "loss": _LOSSES[several][0]}
    if several:
        values["label_smoothing"] = 0.0
    return {name: value for name, value in values.items() if not _given(name, recipe)}


def describe(values: dict[str, Any]) -> str:
    """Give values in one line."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )


def _given(name: str, recipe: str) -> bool:
    named = tomllib.loads(recipe)
    return name in named or (name == "lr_factor" and "lr" in named)
