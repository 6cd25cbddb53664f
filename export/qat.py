"""Quantization-aware training, the last resort: a short fine-tune of the int8 form towards the float answers.

float graph, plan, ranges -> TrainedGraph -> steps on training photos -> float graph and ranges -> the QDQ writer

The teacher is the float graph itself (Hinton et al. 2015, distillation): labels are not needed, and what is asked
for is what the bundle promises, the same answers and the same embeddings.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor
from torch.nn import functional

from sightline.runtime.preprocess import Image, InputSpec, prepare, read_image
from sightline.runtime.reporter import QuietReporter, Reporter

from .onnx_probe import Probe
from .photos import ahead
from .qat_graph import TrainedGraph
from .quantize_plan import QuantizationPlan
from .quantize_ranges import Range
from .quantize_writer import WeightFormat

LOGITS, EMBEDDING = "logits", "embedding"


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast is trained.

    Attributes:
        steps: Optimizer steps.
        batch_size: Photos a step.
        lr: Peak learning rate of weights and biases, Adam; a cosine ends it at zero.
        scale_lr: Of the logarithm of the step widths.
        embedding_weight: Weight of the embeddings' cosine beside the divergence of the answers.
        seed: Which photos when.
    """

    steps: int
    batch_size: int = 16
    lr: float = 2e-5
    scale_lr: float = 1e-3
    embedding_weight: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Trained:
    """What training gives to the writer.

    Attributes:
        model: The float graph with the trained weights.
        ranges: The learned range of every rounded tensor.
        first_loss: Mean loss over the first tenth of the steps.
        last_loss: Mean loss over the last tenth.
    """

    model: ModelProto
    ranges: dict[str, Range]
    first_loss: float
    last_loss: float


def train_quantized(
    model: ModelProto,
    plan: QuantizationPlan,
    ranges: dict[str, Range],
    weights: WeightFormat,
    photos: Sequence[Path],
    spec: InputSpec,
    schedule: Schedule,
    teacher: ModelProto | None = None,
    reporter: Reporter | None = None,
) -> Trained:
    """Fine-tune the int8 form of a graph until it answers as the float graph does.

    Args:
        model: The float graph, repaired as far as it was; left as it is.
        plan: What becomes int8.
        ranges: Of every tensor that the plan rounds.
        weights: How weights are rounded.
        photos: Training photos; none may be judged on. Labels are not needed.
        spec: Size and crop.
        schedule: How long.
        teacher: The graph to answer like; `model` where none is given.
        reporter: Where progress goes.

    Raises:
        InputError: The graph has an operator that cannot be trained, or a photo cannot be read.
    """
    torch.manual_seed(schedule.seed)
    student = TrainedGraph(model, plan, ranges, weights)
    names = [value.name for value in model.graph.output if value.name in (LOGITS, EMBEDDING)]
    probe = Probe(teacher or model, names)
    optimizer = _optimizer(student, schedule)
    losses: list[float] = []
    with (reporter or QuietReporter()).task("training for int8", schedule.steps) as task:
        for batch in _batches(photos, spec, schedule):
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * 0.5 * (1 + np.cos(np.pi * len(losses) / schedule.steps))
            expected = {name: torch.from_numpy(value) for name, value in probe.run(batch).items()}
            loss = _loss(student(torch.from_numpy(batch)), expected, schedule.embedding_weight)
            if not torch.isfinite(loss):
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            task.advance(1, f"loss {np.mean(losses[-20:]):.4f}")
    if len(losses) < schedule.steps or not student.is_finite():
        (reporter or QuietReporter()).warn("training for int8 diverged: the net stays as it was")
        return Trained(model, ranges, np.inf, np.inf)
    tenth = max(1, len(losses) // 10)
    trained, learned = student.learned()
    return Trained(trained, learned, float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:])))


def _loss(came: dict[str, Tensor], expected: dict[str, Tensor], embedding_weight: float) -> Tensor:
    wanted = functional.log_softmax(expected[LOGITS], dim=1)
    loss = functional.kl_div(
        functional.log_softmax(came[LOGITS], dim=1), wanted, reduction="batchmean", log_target=True
    )
    # Divergence does not see what all classes share; the trials and the thresholds do.
    loss = loss + functional.mse_loss(came[LOGITS], expected[LOGITS]) / expected[LOGITS].var().clamp_min(1e-12)
    if EMBEDDING in expected:
        cosine = functional.cosine_similarity(came[EMBEDDING], expected[EMBEDDING], dim=1)
        loss = loss + embedding_weight * (1 - cosine).mean()
    return loss


def _optimizer(student: TrainedGraph, schedule: Schedule) -> torch.optim.Optimizer:
    groups = [
        {"params": student.layers(), "lr": schedule.lr, "peak": schedule.lr},
        {"params": student.scales(), "lr": schedule.scale_lr, "peak": schedule.scale_lr},
    ]
    return torch.optim.Adam(groups, betas=(0.9, 0.99))


def _batches(photos: Sequence[Path], spec: InputSpec, schedule: Schedule) -> Iterator[Image]:
    """Give photos in a new order at each pass, mirrored at random: uint8 [batch, height, width, 3]."""

    def make(rows: NDArray[np.int64]) -> Image:
        # A generator a batch: the same pictures whichever thread draws them.
        rng = np.random.default_rng((schedule.seed, *rows.tolist()))
        pictures = [prepare(read_image(photos[row]), spec) for row in rows]
        return np.stack([one[:, ::-1] if rng.random() < 0.5 else one for one in pictures])

    rng = np.random.default_rng(schedule.seed)
    passes = -(-schedule.steps * schedule.batch_size // len(photos))
    order = np.concatenate([rng.permutation(len(photos)) for _ in range(passes)])
    jobs = [order[step * schedule.batch_size :][: schedule.batch_size] for step in range(schedule.steps)]
    yield from ahead(make, jobs)
