"""`sightline explain RUN`: pictures of what a trained net looks at, before it is exported. Needs torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sightline.runtime import InputError
from sightline.runtime.preprocess import Image, InputSpec, prepare

from .insight import Panel, draw_insight
from .pictures import write_picture

if TYPE_CHECKING:
    from sightline.export.run import TrainedRun

_MOST_MAPS, _GAP, _TILE = 36, 3, 70
_WHOLE = InputSpec(crop=1.0)


def explain_run(path: str, frame_bgr: Image, method: str, label: str | None, place: Path) -> dict[str, Any]:
    """Draw what a run's net makes of a photo.

    Args:
        path: A folder that `sightline train` wrote.
        frame_bgr: The photo, uint8, shape (height, width, 3), BGR.
        method: "gradcam", "filters" or "features".
        label: The class to map, or None for the answer.
        place: The picture to write.

    Returns:
        What was found, in words.

    Raises:
        InputError: It is no run, it has no such label, or its net has nothing of the kind.
    """
    from sightline.export.run import load_run

    run = load_run(path)
    if label is not None and label not in run.labels:
        raise InputError(f"run '{path}' has no label '{label}': it has {', '.join(run.labels[:5])} ...")
    if method == "filters":
        return _filters(run, place)
    return (_gradcam if method == "gradcam" else _features)(run, frame_bgr, label, place)


def _gradcam(run: "TrainedRun", frame_bgr: Image, label: str | None, place: Path) -> dict[str, Any]:
    from sightline.export.inner_view import class_map

    column = None if label is None else run.labels.index(label)
    found = class_map(run.model, prepare(frame_bgr, run.spec), column)
    name, sure = run.labels[found.column], float(found.probabilities[found.column])
    best = int(found.probabilities.argmax())
    heading = f"{run.labels[best]}, {float(found.probabilities[best]):.0%}"
    words = f"What speaks for '{name}' ({sure:.0%}) at layer {found.layer}, by Grad-CAM."
    panels = [Panel("the photo", frame_bgr), Panel(f"what speaks for {name}", frame_bgr, found.heat)]
    write_picture(place, draw_insight(panels, heading, [words], run.spec))
    return {"words": [heading, words], "layer": found.layer, "label": name, "probability": sure}


def _features(run: "TrainedRun", frame_bgr: Image, label: str | None, place: Path) -> dict[str, Any]:
    from sightline.export.inner_view import feature_maps

    layers = feature_maps(run.model, prepare(frame_bgr, run.spec))
    panels = [Panel("the photo", frame_bgr)]
    for one in layers:
        # The channels that say most about this photo; the others are mostly dark.
        strongest = np.argsort(-one.maps.std(axis=(1, 2)), kind="stable")[:_MOST_MAPS]
        shape = " x ".join(map(str, one.maps.shape))
        panels.append(Panel(f"{one.layer}: {shape}", _grid([_grey(one.maps[row]) for row in strongest])))
    words = "Bright is a strong answer of a channel; the strongest channels of each layer come first."
    heading = f"Feature maps of {run.details.arch}"
    write_picture(place, draw_insight(panels, heading, [words], _WHOLE))
    return {"words": [heading, words], "layers": [one.layer for one in layers]}


def _filters(run: "TrainedRun", place: Path) -> dict[str, Any]:
    from sightline.export.inner_view import first_filters

    found = first_filters(run.model)
    largest = np.abs(found.maps).max(axis=(1, 2, 3), keepdims=True)
    tiles = [np.asarray(127.5 + 127.5 * one, np.uint8)[..., ::-1] for one in found.maps / np.maximum(largest, 1e-12)]
    shape = " x ".join(map(str, found.maps.shape))
    heading = run.details.arch
    words = f"Filters of the first layer, {found.layer}, {shape}: grey is nothing, a colour what it answers to."
    write_picture(place, draw_insight([Panel(found.layer, _grid(tiles))], heading, [words], _WHOLE))
    return {"words": [heading, words], "layer": found.layer, "filters": len(tiles)}


def _grey(values: NDArray[np.float32]) -> Image:
    low, high = float(values.min()), float(values.max())
    scaled = (255 * (values - low) / max(high - low, 1e-12)).astype(np.uint8)
    return np.repeat(scaled[..., None], 3, axis=2)


def _grid(tiles: list[Image]) -> Image:
    columns = int(np.ceil(np.sqrt(len(tiles))))
    rows = -(-len(tiles) // columns)
    step = _TILE + _GAP
    canvas = np.full((rows * step - _GAP, columns * step - _GAP, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (number // columns) * step, (number % columns) * step
        large = cv2.resize(np.ascontiguousarray(tile), (_TILE, _TILE), interpolation=cv2.INTER_NEAREST)
        canvas[top : top + _TILE, left : left + _TILE] = large
    return canvas
