"""Mistakes as pictures: each photo with the map of what the wrong answer rests on."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.runtime.occlusion import lead, occlude, overlay
from sightline.runtime.preprocess import Image, InputSpec, prepare, read_image
from sightline.runtime.recognizer import Recognizer
from sightline.runtime.reporter import Reporter
from sightline.runtime.session import Session

from .pages import data_address, square

# About 300 passes each.
MOST_MAPS = 4


def mistake_maps(
    model: Session | Recognizer, spec: InputSpec, mistakes: Sequence[tuple[Path, int]], reporter: Reporter
) -> dict[Path, str]:
    """Draw what wrong answers rest on.

    Args:
        model: What gave them.
        spec: Size and crop.
        mistakes: Photos, each with the column of its wrong answer; the first four are drawn.
        reporter: Where progress goes.

    Returns:
        For each photo the address of its picture, the middle square of it.
    """
    drawn: dict[Path, str] = {}
    with reporter.task("asking what mistakes rest on", min(len(mistakes), MOST_MAPS)) as task:
        for path, column in mistakes[:MOST_MAPS]:
            frame = read_image(path)
            found = occlude(prepare(frame, spec), partial(_lead, model, column))
            drawn[path] = data_address(square(overlay(frame, found.heat, spec)))
            task.advance()
    return drawn


def _lead(model: Session | Recognizer, column: int, batch: Image) -> NDArray[np.float32]:
    return lead(model.run(batch)[0], column)
