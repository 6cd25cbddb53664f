"""Options of `sightline export` that say how a model is quantized and judged, and which ready weights it has."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from .options import gather

if TYPE_CHECKING:
    from sightline.export.pipeline import ExportOptions


@dataclass(frozen=True, slots=True)
class GateWords:
    """What the user said of int8, as typed."""

    max_drop: float
    min_speedup: float | None
    max_bytes: int | None
    targets: tuple[str, ...]
    rank_layers: bool
    qat: bool
    qat_steps: int

    def options(self) -> "ExportOptions":
        """Give what `export_bundle` takes.

        Raises:
            InputError: There is no such target.
        """
        from sightline.export.gate import Limits
        from sightline.export.pipeline import ExportOptions
        from sightline.export.qat import Schedule
        from sightline.export.quantize import QuantizationOptions
        from sightline.export.targets import find_targets

        find_targets(self.targets)
        limits = Limits(self.max_drop, self.min_speedup, self.max_bytes)
        quantization = QuantizationOptions(train=Schedule(self.qat_steps) if self.qat else None)
        return ExportOptions(limits, quantization, self.targets, rank_layers=self.rank_layers)


@dataclass(frozen=True, slots=True)
class WeightsWords:
    """What the user said of ready weights, as typed."""

    arch: str | None
    weights: str | None
    labels: str | None
    data: str | None
    label_column: str
    dim: int

    @property
    def given(self) -> bool:
        """Whether any of them was named."""
        return any((self.arch, self.weights, self.labels, self.data))


_GATE = (
    click.option(
        "--max-drop",
        default=0.5,
        show_default=True,
        type=click.FloatRange(-100, 100),
        help="Points of top-1, or of mean average precision, that int8 may lose.",
    ),
    click.option(
        "--min-speedup", type=click.FloatRange(0), help="Times as fast as fp32 that int8 has to be in the same run."
    ),
    click.option("--max-bytes", type=click.IntRange(1), help="Largest file of a quantized variant, bytes."),
    click.option(
        "--target",
        "targets",
        multiple=True,
        default=["portable"],
        show_default=True,
        help="Machines to make variants for: portable, x86-vnni, arm64, cuda. May be given several times.",
    ),
    click.option("--rank-layers", is_flag=True, help="Rank the layers by what int8 costs them, for the report."),
    click.option(
        "--qat", is_flag=True, help="Train int8 towards the float answers; kept where held-out photos say so."
    ),
    click.option(
        "--qat-steps", default=200, show_default=True, type=click.IntRange(1), help="Steps of --qat, 16 photos each."
    ),
)
_WEIGHTS = (
    click.option("--arch", help="Architecture of ready weights (instead of RUN)."),
    click.option("--weights", metavar="FILE|imagenet|coco", help="Ready weights: a torchvision state dict."),
    click.option("--labels", metavar="FILE", help="Names of the outputs, one a line."),
    click.option("--data", help="Labelled photos: a folder of class folders or a CSV file."),
    click.option("--label-column", default="label", show_default=True, help="CSV column with the label or its index."),
    click.option("--dim", default=256, show_default=True, type=click.IntRange(2, 4096), help="Width of the embedding."),
)

# The command gets them as the arguments `gate` and `ready`.
gate_options = gather("gate", GateWords, _GATE)
weights_options = gather("ready", WeightsWords, _WEIGHTS)
