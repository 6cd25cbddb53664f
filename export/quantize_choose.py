"""Which way of finding ranges suits a net: tried on calibration photos that no range was found on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from sightline.runtime.preprocess import Image

from .onnx_probe import Probe
from .quantize_plan import QuantizationPlan
from .quantize_ranges import METHODS, Observation, Range, find_ranges
from .quantize_writer import WeightFormat, write_qdq

LOGITS = "logits"


@dataclass(frozen=True, slots=True)
class MethodTrial:
    """How one way of finding ranges did: squared error of the logits, as a part of their variance."""

    method: str
    error: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The ranges that were chosen, and every trial, the best first."""

    ranges: dict[str, Range]
    trials: tuple[MethodTrial, ...]


def choose_ranges(
    model: ModelProto,
    plan: QuantizationPlan,
    observations: Mapping[str, Observation],
    weights: WeightFormat,
    held_out: Sequence[Image],
    methods: Sequence[str] = METHODS,
) -> Choice:
    """Try each method on held-out calibration photos and keep the one with the least error of the logits.

    Args:
        model: The float graph.
        plan: What becomes int8.
        observations: What its tensors were seen to hold.
        weights: How weights are rounded.
        held_out: Batches of prepared calibration photos that were not observed.
        methods: What to try; a single one is taken without a trial.
    """
    if len(methods) == 1 or not held_out:
        return Choice(find_ranges(observations, methods[0]), ())
    expected = logits(model, held_out)
    found = {method: find_ranges(observations, method) for method in methods}
    trials = [
        MethodTrial(method, error(expected, logits(write_qdq(model, plan, ranges, weights), held_out)))
        for method, ranges in found.items()
    ]
    trials.sort(key=lambda trial: trial.error)
    return Choice(found[trials[0].method], tuple(trials))


def logits(model: ModelProto, images: Sequence[Image]) -> NDArray[np.float32]:
    """Run batches through a graph: float32 (photos, classes)."""
    probe = Probe(model, [LOGITS])
    return np.concatenate([probe.run(batch)[LOGITS] for batch in images])


def error(expected: NDArray[np.float32], came: NDArray[np.float32]) -> float:
    """Squared difference of logits as a part of the variance of the expected ones."""
    return float(np.square(expected - came).mean() / max(float(expected.var()), 1e-12))
