"""Options of `sightline export` that say what a foreign ONNX file is and expects."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import click

from .options import gather

if TYPE_CHECKING:
    from sightline.export.foreign import ForeignOnnx


@dataclass(frozen=True, slots=True)
class OnnxWords:
    """What the user said of a foreign file, as typed."""

    onnx: str | None
    calibration: str | None
    mean: str | None
    std: str | None
    scale: float | None
    channel_order: str | None
    size: str | None
    crop: float | None
    preprocessing: str | None
    embedding: bool

    @property
    def given(self) -> bool:
        """Whether any of these options was used."""
        return any(getattr(self, one.name) not in (None, False) for one in fields(self))


def foreign_onnx(words: OnnxWords, labels: str | None, data: str | None, label_column: str, dim: int) -> "ForeignOnnx":
    """Join the options to what `source_from_onnx` takes.

    Raises:
        UsageError: --onnx is not accompanied by labels and photos.
        InputError: A figure cannot be read.
    """
    from sightline.export.foreign import ForeignOnnx
    from sightline.export.onnx_settings import Settings, parse_figures, parse_size

    calibration = words.calibration or data
    if words.onnx is None or labels is None or calibration is None:
        raise click.UsageError("--onnx needs --labels, and photos with --calibration or --data")
    settings = Settings(
        mean=parse_figures(words.mean) if words.mean else None,
        std=parse_figures(words.std) if words.std else None,
        scale=words.scale,
        channel_order=words.channel_order,
        size=parse_size(words.size) if words.size else None,
        crop=words.crop,
    )
    evaluation = data if words.calibration else None
    return ForeignOnnx(
        words.onnx, labels, calibration, evaluation, label_column, settings, words.preprocessing, words.embedding, dim
    )


_OPTIONS = (
    click.option("--onnx", metavar="FILE", help="A float ONNX file from anywhere (instead of RUN)."),
    click.option(
        "--calibration",
        metavar="DATA",
        help="With --onnx: labelled photos to calibrate on. Without --data half of them are judged on.",
    ),
    click.option("--mean", metavar="FIGURES", help="With --onnx: mean of its input, one figure or R,G,B."),
    click.option("--std", metavar="FIGURES", help="With --onnx: standard deviation of its input, likewise."),
    click.option(
        "--scale", type=float, help="With --onnx: what pixels of 0 to 255 are multiplied with first [default: 1/255]."
    ),
    click.option(
        "--channel-order", type=click.Choice(("rgb", "bgr")), help="With --onnx: order of its channels [default: rgb]."
    ),
    click.option("--size", metavar="PIXELS", help="With --onnx: its image size, where the file leaves it open."),
    click.option(
        "--crop",
        type=click.FloatRange(0.1, 1),
        help="With --onnx: part of the picture's shorter side that is seen [default: 0.875].",
    ),
    click.option(
        "--preprocessing",
        metavar="JSON",
        help="With --onnx: timm's config.json or Hugging Face's preprocessor_config.json, instead of the above.",
    ),
    click.option("--embedding", is_flag=True, help="With --onnx: its output is an embedding, not a score a label."),
)

# Adds --onnx and what belongs to it; the command gets them as one argument, `words`.
onnx_options = gather("words", OnnxWords, _OPTIONS)
