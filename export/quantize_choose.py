"""Which ranges and which repairs suit a net: tried on calibration photos that no range was found on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from sightline.runtime.preprocess import Image

from .onnx_probe import Probe
from .quantize_additions import settle_additions
from .quantize_plan import QuantizationPlan
from .quantize_ranges import METHODS, Observation, Range, find_ranges
from .quantize_repair import correct_bias, correct_bias_fast
from .quantize_writer import WeightFormat, write_qdq

LOGITS = "logits"
PLAIN, EQUALIZED = "as it is", "equalized"
Repair = Callable[[ModelProto, QuantizationPlan, dict[str, Range], WeightFormat, Sequence[Image]], ModelProto]
SEQUENTIAL = "sequential bias correction"
REPAIRS: dict[str, Repair] = {"fast bias correction": correct_bias_fast, SEQUENTIAL: correct_bias}
UNREPAIRED = "biases as they are"
TRAINED = "trained for int8"


@dataclass(frozen=True, slots=True)
class Form:
    """A float graph to quantize, with what its tensors were seen to hold.

    Attributes:
        name: "as it is" or "equalized".
        model: The graph; all forms have the same names and compute the same.
        observations: By the tensor's name.
    """

    name: str
    model: ModelProto
    observations: Mapping[str, Observation]


@dataclass(frozen=True, slots=True)
class MethodTrial:
    """How one way of quantizing did: squared error of the logits, as a part of their variance."""

    method: str
    error: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The form and the ranges that were chosen, and every trial, the best first."""

    model: ModelProto
    ranges: dict[str, Range]
    trials: tuple[MethodTrial, ...]


@dataclass(frozen=True, slots=True)
class Mended:
    """The graph and the ranges to write after the chosen repair, and every trial, the best first."""

    model: ModelProto
    ranges: dict[str, Range]
    trials: tuple[MethodTrial, ...]


def choose_ranges(
    forms: Sequence[Form],
    plan: QuantizationPlan,
    weights: WeightFormat,
    held_out: Sequence[Image],
    methods: Sequence[str] = METHODS,
) -> Choice:
    """Try each form with each method on held-out calibration photos; keep the least error of the logits.

    Args:
        forms: What may be quantized, the plain graph first.
        plan: What becomes int8.
        weights: How weights are rounded.
        held_out: Batches of prepared calibration photos that were not observed.
        methods: What to try; the plain graph with the first one is taken where there is nothing to try it on.
    """

    def find(form: Form, method: str) -> dict[str, Range]:
        return settle_additions(form.model, plan, find_ranges(form.observations, method))

    if not held_out:
        return Choice(forms[0].model, find(forms[0], methods[0]), ())
    expected = logits(forms[0].model, held_out)
    found = {(form.name, method): find(form, method) for form in forms for method in methods}
    models = {form.name: form.model for form in forms}
    errors = {
        (name, method): error(expected, logits(write_qdq(models[name], plan, ranges, weights), held_out))
        for (name, method), ranges in found.items()
    }
    order = sorted(errors, key=lambda key: errors[key])
    trials = tuple(
        MethodTrial(method if name == PLAIN else f"{method}, {name}", errors[name, method]) for name, method in order
    )
    return Choice(models[order[0][0]], found[order[0]], trials)


def choose_repair(
    choice: Choice,
    plan: QuantizationPlan,
    weights: WeightFormat,
    repairing: Sequence[Image],
    held_out: Sequence[Image],
    reference: ModelProto | None = None,
) -> Mended:
    """Try the ways of correcting biases and none; keep the least error of the logits on held-out photos.

    Args:
        choice: The form and its ranges.
        plan: What becomes int8.
        weights: How weights are rounded.
        repairing: Batches of photos to correct with.
        held_out: Batches of other photos; where there are none the sequential correction is taken untried.
        reference: The float graph whose logits are expected; the chosen form where none is given.
    """
    if not held_out:
        repaired = REPAIRS[SEQUENTIAL](choice.model, plan, choice.ranges, weights, repairing)
        return Mended(repaired, choice.ranges, ())
    forms = {UNREPAIRED: choice.model}
    for name, repair in REPAIRS.items():
        forms[name] = repair(choice.model, plan, choice.ranges, weights, repairing)
    expected = reference or choice.model
    errors = {
        name: held_out_error(expected, form, plan, choice.ranges, weights, held_out) for name, form in forms.items()
    }
    order = sorted(errors, key=lambda name: errors[name])
    return Mended(forms[order[0]], choice.ranges, tuple(MethodTrial(name, errors[name]) for name in order))


def held_out_error(
    reference: ModelProto,
    model: ModelProto,
    plan: QuantizationPlan,
    ranges: dict[str, Range],
    weights: WeightFormat,
    held_out: Sequence[Image],
) -> float:
    """Give the error of the logits of a graph's int8 form against a float graph's."""
    return error(logits(reference, held_out), logits(write_qdq(model, plan, ranges, weights), held_out))


def logits(model: ModelProto, images: Sequence[Image]) -> NDArray[np.float32]:
    """Run batches through a graph: float32 (photos, classes)."""
    probe = Probe(model, [LOGITS])
    return np.concatenate([probe.run(batch)[LOGITS] for batch in images])


def error(expected: NDArray[np.float32], came: NDArray[np.float32]) -> float:
    """Squared difference of logits as a part of the variance of the expected ones."""
    squared = float(np.square(expected - came).mean() / max(float(expected.var()), 1e-12))
    # What is not a number would compare as neither better nor worse.
    return squared if np.isfinite(squared) else float("inf")
