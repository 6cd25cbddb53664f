"""Everything that export measured, as data: what report.json holds and report.html shows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.runtime.breakdown import Averages as Averages
from sightline.runtime.breakdown import average_classes
from sightline.runtime.manifest import DecisionPolicy, GateResult
from sightline.runtime.preprocess import InputSpec
from sightline.runtime.ranking import average_precision
from sightline.runtime.rates import Reliability as Reliability
from sightline.runtime.rates import reliability as bin_answers
from sightline.runtime.recognition import sigmoid, softmax

from .evaluate import Drift, Outputs, Rate, rate
from .fusion import Fusion
from .label_decision import shipped_figures
from .latency import Timing
from .losses import Targets
from .parity import Parity
from .quantize_choose import MethodTrial
from .quantize_sensitivity import LayerSensitivity
from .run import Epoch
from .saturation_audit import Saturation

_PAIRS = 8


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Speed with another provider: fp32's time over this variant's there; None where this machine lacks it."""

    provider: str
    timing: Timing | None

    @property
    def sentence(self) -> str:
        """What is said of it."""
        if self.timing is None:
            return f"its speed is not measured here: this machine has no {self.provider} provider"
        return f"it is {self.timing.speedup:.2f} times as fast as fp32 with {self.provider} in the same run"


@dataclass(frozen=True, slots=True)
class VariantFigures:
    """One variant, measured.

    Attributes:
        top1: On the evaluation photos; their mean average precision where a photo has several labels.
        top5: On the evaluation photos.
        drift: Against fp32; of fp32 itself all ones and zeros.
        timing: At batch 1, all variants in the same run.
        batches: How near batches of 2 and 5 are to single photos.
        fusion: What runs in integers.
        recall1: Evaluation photos whose nearest gallery photo, embedded by the same variant, has their label; over
            those with their label in the gallery.
        cross_recall1: The same against a gallery embedded by fp32.
        timed: Whether the timing says anything of the machines it is for.
        trials: Ways of finding ranges that were tried, the chosen one first; empty for float.
        kept_float: Layers left in float to pass the gate.
        repairs: Ways of mending it that were tried, the chosen one first; empty for float.
        saturation: What an x86 CPU without VNNI makes of it; None for float.
        elsewhere: For a variant that runs with another provider than the CPU's: its speed there.
    """

    name: str
    precision: str
    target: str
    bytes: int
    top1: Rate
    top5: Rate
    drift: Drift
    timing: Timing
    batches: Parity
    fusion: Fusion
    recall1: Rate
    cross_recall1: Rate
    timed: bool = True
    trials: tuple[MethodTrial, ...] = ()
    kept_float: tuple[str, ...] = ()
    repairs: tuple[MethodTrial, ...] = ()
    saturation: Saturation | None = None
    elsewhere: Elsewhere | None = None


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class under the default variant: evaluation photos, and the share answered rightly.

    Where a photo has several labels `top1` is the label's average precision.
    """

    label: str
    images: int
    top1: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """A pair of classes that the default variant mixes up.

    Attributes:
        truth: The right label.
        answer: What it said.
        count: How often.
        example: Row of one such evaluation photo.
    """

    truth: str
    answer: str
    count: int
    example: int


@dataclass(frozen=True, slots=True)
class CalibrationFacts:
    """What quantization looked at: how many photos of how many classes, and the hash of their contents."""

    images: int
    classes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Report:
    """The content of report.json.

    `sensitivity` is of the variants `ranked`, which have the same form of weights. `choosing_images` counts the photos
    that layers left in float were chosen by; none of them is an evaluation photo.
    """

    arch: str
    labels: tuple[str, ...]
    input: InputSpec
    embedding_dim: int
    model_id: str
    evaluation_images: int
    evaluated_classes: int
    task: str
    variants: tuple[VariantFigures, ...]
    gate: GateResult
    decision: DecisionPolicy
    parity: Parity
    calibration: CalibrationFacts
    ranked: tuple[str, ...]
    sensitivity: tuple[LayerSensitivity, ...]
    reliability: Reliability
    averages: Averages
    classes: tuple[ClassFigures, ...]
    confusions: tuple[Confusion, ...]
    training: dict[str, Any]
    history: tuple[Epoch, ...]
    choosing_images: int
    cpu: str
    threads: int
    tool_versions: dict[str, str]

    @property
    def default(self) -> VariantFigures:
        """The variant that devices run."""
        return next(one for one in self.variants if one.name == self.gate.default_variant)

    @property
    def audited(self) -> tuple[VariantFigures, ...]:
        """The variants in integers, one for each way they answer without VNNI."""
        return tuple(one for one in self.variants if one.saturation is not None)


def evaluated_classes(truth: Targets) -> int:
    """Count the classes that occur."""
    return int(truth.any(axis=0).sum()) if truth.ndim == 2 else len(np.unique(truth))


def class_figures(outputs: Outputs, truth: Targets, labels: Sequence[str]) -> tuple[ClassFigures, ...]:
    """Give every evaluated class, the weakest first."""
    if truth.ndim == 2:
        columns = zip(labels, outputs.logits.T, truth.T > 0.5, strict=True)
        figures = [
            ClassFigures(label, int(there.sum()), average_precision(scores, there))
            for label, scores, there in columns
            if there.any()
        ]
    else:
        right = outputs.answers == truth
        figures = [
            ClassFigures(labels[index], int((truth == index).sum()), rate(right[truth == index]).value)
            for index in np.unique(truth).astype(int).tolist()
        ]
    return tuple(sorted(figures, key=lambda one: (one.top1, -one.images, one.label)))


def confusions(outputs: Outputs, truth: Targets, labels: Sequence[str]) -> tuple[Confusion, ...]:
    """Give the pairs mixed up most often, each with its most confident photo; none where a photo has several labels."""
    if truth.ndim == 2:
        return ()
    wrong = np.flatnonzero(outputs.answers != truth)
    pairs = Counter((int(truth[row]), int(outputs.answers[row])) for row in wrong)
    surest = outputs.logits.max(axis=1) - np.median(outputs.logits, axis=1)
    found = []
    for (true, said), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:_PAIRS]:
        rows = [int(row) for row in wrong if truth[row] == true and outputs.answers[row] == said]
        found.append(Confusion(labels[true], labels[said], count, max(rows, key=lambda row: float(surest[row]))))
    return tuple(found)


def reliability(outputs: Outputs, truth: Targets, temperature: float) -> Reliability:
    """Bin the first answers by their probability; where a photo has several labels, each label by its own."""
    if truth.ndim == 2:
        return bin_answers(sigmoid(outputs.logits, temperature).ravel(), truth.ravel() > 0.5)
    return bin_answers(softmax(outputs.logits, temperature).max(axis=1), outputs.answers == truth)


def averages(outputs: Outputs, truth: Targets, policy: DecisionPolicy, labels: Sequence[str]) -> Averages:
    """Average precision, recall, F1 and average precision over the evaluated classes."""
    if truth.ndim == 2:
        found = shipped_figures(outputs, truth, policy, labels)
        occurring = [one for one in found.per_label.values() if one.images]
        return Averages(
            float(np.mean([one.precision for one in occurring])),
            float(np.mean([one.recall for one in occurring])),
            found.macro_f1,
            found.micro_f1,
            found.mean_average_precision or 0.0,
        )
    return average_classes(softmax(outputs.logits, policy.temperature), truth.astype(np.int64), labels)
