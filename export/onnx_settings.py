"""What a foreign model expects of an image: given by the user, or read from the notes that the model carries.

    input = (pixel · scale − mean) / std, channel by channel, in the model's own channel order

Notes are understood as timm (`pretrained_cfg`), Hugging Face (`preprocessor_config.json`), OpenVINO's Model API
(`model_info ...`), Ultralytics (`imgsz`, `task`) and plain keys (`mean`, `std`, ...) write them. Nothing is
guessed: a wrong normalization costs accuracy without a word.
"""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import InputSpec

from .onnx_file import OnnxFile

_USUAL_CROP = 0.875
_HINT = (
    "give --mean and --std (ImageNet's: --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225; TensorFlow's: --mean 0.5 "
    "--std 0.5; none: --mean 0 --std 1)"
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What is known of a model's preprocessing; None where nothing is.

    Attributes:
        mean: One figure or one a channel, after scaling.
        std: Likewise.
        scale: What a pixel of 0 to 255 is multiplied with first.
        channel_order: "rgb" or "bgr".
        size: Height and width, pixels.
        crop: See `InputSpec.crop`.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    scale: float | None = None
    channel_order: str | None = None
    size: tuple[int, int] | None = None
    crop: float | None = None


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a model expects, complete.

    Attributes:
        mean: Of the three channels in the model's order, after scaling.
        std: Likewise.
        scale: What a pixel of 0 to 255 is multiplied with first.
        bgr: Whether the model's first channel is blue.
        nhwc: Whether channels come last.
        pixels: Whether the model takes uint8 and normalizes by itself.
        spec: Size and crop.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float
    bgr: bool
    nhwc: bool
    pixels: bool
    spec: InputSpec


def settle(file: OnnxFile, given: Settings, notes: str | Path | None = None) -> Preprocessing:
    """Join what the user gave, what a file of notes says, what the model's notes say, and its input's shape.

    Args:
        file: The model.
        given: What the user gave; it wins.
        notes: A JSON file such as timm's config.json or Hugging Face's preprocessor_config.json.

    Raises:
        InputError: Something is missing, contradictory or out of range.
    """
    known = _join(given, read_settings(_json_file(notes)) if notes else Settings(), read_settings(file.metadata))
    nhwc, size = _layout(file, known)
    spec = InputSpec(*size, known.crop if known.crop is not None else _USUAL_CROP)
    bgr = known.channel_order == "bgr"
    if file.pixels:
        if given.mean or given.std or given.scale:
            raise InputError(f"model '{file.path}' takes uint8 pixels: leave out --mean, --std and --scale")
        return Preprocessing((0.0,) * 3, (1.0,) * 3, 1.0, bgr, nhwc, True, spec)
    if known.mean is None or known.std is None:
        lacking = " and ".join(name for name in ("mean", "std") if getattr(known, name) is None)
        raise InputError(f"model '{file.path}' does not say the {lacking} of its input: {_HINT}")
    scale = known.scale if known.scale is not None else 1 / 255
    mean, std = _channels(known.mean, "mean"), _channels(known.std, "std")
    if min(std) <= 0 or scale <= 0:
        raise InputError(f"--std and --scale must be above zero, not {min(min(std), scale):g}")
    return Preprocessing(mean, std, scale, bgr, nhwc, False, spec)


def parse_figures(text: str) -> tuple[float, ...]:
    """Read "0.485,0.456,0.406", separated by commas or blanks.

    Raises:
        InputError: It holds something else than finite numbers.
    """
    try:
        figures = tuple(float(part) for part in text.replace(",", " ").strip("[]() ").split())
    except ValueError as error:
        raise InputError(f"'{text}' is no list of numbers such as 0.485,0.456,0.406") from error
    if not figures or not all(abs(figure) < 1e9 for figure in figures):
        raise InputError(f"'{text}' is no list of numbers such as 0.485,0.456,0.406")
    return figures


def parse_size(text: str) -> tuple[int, int]:
    """Read "224" or "240x320" (height, then width).

    Raises:
        InputError: It is neither.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"'{text}' is no size: expected pixels such as 224, or height and width such as 240x320")
    return int(parts[0]), int(parts[-1])


def read_settings(notes: Mapping[str, Any]) -> Settings:
    """Read what notes say, in any of the forms that the module names; what they leave open stays None.

    Raises:
        InputError: A figure in them is none.
    """
    values = {re.sub("^model_info[ /]", "", key): _value(value) for key, value in notes.items()}
    if isinstance(values.get("pretrained_cfg"), dict):
        values |= values["pretrained_cfg"]
    try:
        readers = (_from_model_api, _from_hugging_face, _from_ultralytics, _from_plain)
        return next((found for read in readers if (found := read(values)) != Settings()), Settings())
    except (TypeError, ValueError) as error:
        raise InputError(f"the notes of the model's preprocessing hold what is no figure ({error})") from error


def _join(*known: Settings) -> Settings:
    joined = Settings()
    for one in reversed(known):
        says = {name: getattr(one, name) for name in Settings.__slots__}
        joined = replace(joined, **{name: value for name, value in says.items() if value is not None})
    return joined


def _layout(file: OnnxFile, known: Settings) -> tuple[bool, tuple[int, int]]:
    channels = file.shape[1], file.shape[3]
    if 3 not in channels:
        raise InputError(
            f"the input of model '{file.path}' has shape {_spell(file.shape)}, expected three channels second or last"
        )
    nhwc = channels[0] != 3
    own = file.shape[1:3] if nhwc else file.shape[2:4]
    size = known.size or own
    if size[0] is None or size[1] is None:
        raise InputError(
            f"the input of model '{file.path}' has shape {_spell(file.shape)}, its height and width are open: give "
            f"them with --size"
        )
    if any(fixed not in (None, wanted) for fixed, wanted in zip(own, size, strict=True)):
        raise InputError(
            f"model '{file.path}' takes images of {_spell(own)}, not {size[0]}x{size[1]}: leave --size out, or export "
            f"the model with open height and width"
        )
    return nhwc, (size[0], size[1])


def _spell(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _channels(figures: tuple[float, ...], name: str) -> tuple[float, ...]:
    if len(figures) not in (1, 3):
        raise InputError(f"--{name} has {len(figures)} figures, expected one, or three in the model's channel order")
    return figures * 3 if len(figures) == 1 else figures


def _json_file(path: str | Path) -> dict[str, Any]:
    try:
        notes = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{path}' cannot be read as JSON ({error}): expected timm's or Hugging Face's config"
        ) from error
    if not isinstance(notes, dict) or read_settings(notes) == Settings():
        raise InputError(f"'{path}' says nothing of mean, std or size: expected timm's or Hugging Face's config")
    return notes


def _value(text: Any) -> Any:
    # Notes inside ONNX files are text: JSON, or Python as Ultralytics writes it.
    if isinstance(text, str) and text[:1] in "[{(":
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text
    return text


def _from_model_api(values: dict[str, Any]) -> Settings:
    if "mean_values" not in values and "scale_values" not in values:
        return Settings()
    mean, std = _figures(values.get("mean_values", "0")), _figures(values.get("scale_values", "1"))
    # The Model API reads BGR images and reverses them where it is told to.
    reversed_ = str(values.get("reverse_input_channels", "")).lower() in ("yes", "true", "1")
    return Settings(mean, std, 1.0, "rgb" if reversed_ else "bgr")


def _from_hugging_face(values: dict[str, Any]) -> Settings:
    if "image_mean" not in values:
        return Settings()
    normalized = values.get("do_normalize", True)
    scale = float(values.get("rescale_factor", 1 / 255)) if values.get("do_rescale", True) else 1.0
    size, crop_size = values.get("size"), values.get("crop_size") if values.get("do_center_crop", True) else None
    wanted = _pixels(crop_size) or _pixels(size)
    edge = size.get("shortest_edge") if isinstance(size, dict) else None
    crop = min(1.0, wanted[0] / edge) if wanted and edge else 1.0 if wanted else None
    mean = _figures(values["image_mean"]) if normalized else (0.0,)
    std = _figures(values.get("image_std", 1)) if normalized else (1.0,)
    return Settings(mean, std, scale, None, wanted, crop)


def _from_ultralytics(values: dict[str, Any]) -> Settings:
    if values.get("task") != "classify" or "imgsz" not in values:
        return Settings()
    return Settings((0.0,), (1.0,), 1 / 255, "rgb", _pixels(values["imgsz"]), 1.0)


def _from_plain(values: dict[str, Any]) -> Settings:
    order = str(values.get("channel_order", values.get("color_format", ""))).lower()
    size = next((values[key] for key in ("input_size", "image_size", "imgsz", "size") if key in values), None)
    return Settings(
        _figures(values["mean"]) if "mean" in values else None,
        _figures(values["std"]) if "std" in values else None,
        _figures(values["scale"])[0] if "scale" in values else None,
        order if order in ("rgb", "bgr") else None,
        _pixels(size),
        _figures(values["crop_pct"])[0] if "crop_pct" in values else None,
    )


def _figures(value: Any) -> tuple[float, ...]:
    return parse_figures(str(list(value)) if isinstance(value, list | tuple) else str(value))


def _pixels(value: Any) -> tuple[int, int] | None:
    if isinstance(value, dict):
        value = [value[key] for key in ("height", "width") if key in value]
    if isinstance(value, str) and value.replace("x", "").isdecimal():
        return parse_size(value)
    if isinstance(value, int):
        return value, value
    # timm writes [3, height, width].
    sides = [int(side) for side in value if side != 3] if isinstance(value, list | tuple) else []
    return (sides[0], sides[-1]) if 1 <= len(sides) <= 2 else None
