"""A camera's walk along the shop's shelf, with the truth of every frame.

The shelf is one long picture of several bays, each with its own wall, board and light. The camera glides from
stop to stop and lingers, as a hand holds it: it sways, rolls, comes nearer and loses exposure a little. What a
frame shows follows from where the camera stands, so the truth is geometry and not a script.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from sightline.runtime.errors import SourceError

from .backdrop import backdrop, shelf_edge
from .brush import Canvas, Layer, as_layer
from .scene import Item, Photo, Pose, light_field, put, random_light
from .shop import KNOWN, NOVEL, STRANGER

FRAME_WH = (640, 480)
FPS = 15
_ROWS, _SPACING, _GROUND = 680, 640, 540
_UNIT = 480
# The device looks at the middle of the frame: the part of its height that the usual crop keeps.
_SEEN = 0.875

Path2d: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames that show one thing clearly.

    Attributes:
        label: What is in view; None for the empty shelf.
        first: The first frame.
        last: The last frame, included.
    """

    label: str | None
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Clip:
    """A camera clip and what it shows.

    Attributes:
        path: The video file.
        fps: Frames a second.
        frames: Number of frames.
        segments: What is clearly in view and when, in order; frames between them show the way.
        novel: The label that is not known at first.
        teach_at: The frames at which the novel item in view is to be taught.
    """

    path: Path
    fps: int
    frames: int
    segments: tuple[Segment, ...]
    novel: str
    teach_at: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """One place on the shelf where the camera lingers.

    Attributes:
        item: What stands there; None for an empty place.
        seconds: How long the camera lingers.
        mirrored: Whether the item looks the other way.
        lesson: Whether the item is taught there.
    """

    item: Item | None
    seconds: float = 1.4
    mirrored: bool = False
    lesson: bool = False


@dataclass(frozen=True, slots=True)
class Shelf:
    """The long picture.

    Attributes:
        picture: uint8, shape (rows, columns, 3), BGR.
        labels: What is at each stop; None for nothing.
        centres: The middle of each stop, column and row, shape (stops, 2).
        extents: Half the width and height that the item takes there, shape (stops, 2).
    """

    picture: Photo
    labels: tuple[str | None, ...]
    centres: Path2d
    extents: Path2d


def shop_tour() -> tuple[tuple[Stop, ...], ...]:
    """Give the bays of the shelf: known items, the novel one taught from two sides, then it again among the others."""
    known = {item.name: item for item in KNOWN}
    return (
        (Stop(known["mug"]), Stop(known["teapot"]), Stop(None, 1.0)),
        (Stop(known["sneaker"]), Stop(NOVEL, 4.0, lesson=True)),
        (Stop(NOVEL, 4.0, mirrored=True, lesson=True), Stop(known["tin can"]), Stop(known["aubergine"])),
        (Stop(NOVEL, 2.0, mirrored=True), Stop(known["apple"])),
        (Stop(known["book"]), Stop(STRANGER, 2.0), Stop(None, 1.0)),
        (Stop(NOVEL, 2.0), Stop(known["bottle"]), Stop(known["cereal box"])),
    )


def film_shop(path: Path, seed: int, bays: Sequence[Sequence[Stop]] | None = None) -> Clip:
    """Draw the shelf, walk the camera along it and write the clip.

    Args:
        path: The video file to write (.mp4).
        seed: The same seed gives the same frames.
        bays: The stops, bay by bay; the usual tour where none are given.

    Returns:
        The clip with its truth.

    Raises:
        SourceError: The video cannot be written.
    """
    rng = np.random.default_rng([seed, 77])
    bays = bays or shop_tour()
    stops = [stop for bay in bays for stop in bay]
    shelf = build_shelf(bays, rng)
    track = camera_track(shelf.centres, [stop.seconds for stop in stops], rng)
    count = write_video(path, camera_frames(shelf.picture, track, rng))
    segments = clear_views(shelf, track)
    # Seen as unknown for more than a second; then taught while the camera lingers for two seconds more.
    teach_at = tuple(
        segment.first + round(0.4 * (segment.last - segment.first)) for segment in _lessons(stops, segments)
    )
    return Clip(path, FPS, count, segments, NOVEL.name, teach_at)


def _lessons(stops: Sequence[Stop], segments: Sequence[Segment]) -> list[Segment]:
    """Give the views of the novel item that are lessons; they come before all others of it."""
    return [segment for segment in segments if segment.label == NOVEL.name][: sum(stop.lesson for stop in stops)]


def build_shelf(bays: Sequence[Sequence[Stop]], rng: np.random.Generator) -> Shelf:
    """Draw the shelf, bay by bay."""
    pictures, centres, extents = [], [], []
    left = 0
    for bay in bays:
        picture, middles, halves = _bay(bay, rng)
        pictures.append(picture)
        centres += [(x + left, y) for x, y in middles]
        extents += halves
        left += picture.shape[1]
    labels = tuple(stop.item.name if stop.item else None for bay in bays for stop in bay)
    return Shelf(np.hstack(pictures), labels, np.array(centres), np.array(extents))


def _bay(
    bay: Sequence[Stop], rng: np.random.Generator
) -> tuple[Photo, list[tuple[float, float]], list[tuple[float, float]]]:
    columns = _SPACING * len(bay)
    horizon = round(rng.uniform(0.55, 0.7) * _ROWS)
    scene = backdrop(rng, _ROWS, columns, _UNIT, horizon)
    shelf_edge(scene, rng, _UNIT, _GROUND + 36)
    light = random_light(rng)
    centres, extents = [], []
    for number, stop in enumerate(bay):
        x, height = (number + 0.5) * _SPACING + rng.uniform(-40, 40), rng.uniform(360, 410)
        centres.append((x, _GROUND - 0.44 * height))
        extents.append((0.30 * height, 0.36 * height))
        if stop.item is None:
            continue
        canvas = Canvas(round(height), light)
        stop.item.paint(canvas)
        roll = float(rng.normal(0, stop.item.roll / 3))
        put(scene, canvas, Pose(x, _GROUND, height, roll, rng.normal(0, 0.02, (4, 2)), stop.mirrored))
    return _finish(scene, rng), centres, extents


def _finish(scene: Layer, rng: np.random.Generator) -> Photo:
    rows, columns = scene.shape[:2]
    warm = rng.normal(0, 0.07)
    lit = scene * light_field(rng, rows, columns) * np.array([1 - warm, 1, 1 + warm], np.float32)
    lit *= np.exp(rng.normal(0, 0.12))
    post = as_layer(np.clip(np.minimum(np.arange(columns), columns - 1 - np.arange(columns)) / 14, 0, 1))
    lit *= (0.25 + 0.75 * post)[None, :, None]
    return np.asarray(np.clip(lit, 0, 1) * 255 + 0.5, np.uint8)


def camera_track(centres: Path2d, seconds: Sequence[float], rng: np.random.Generator) -> Path2d:
    """Walk the camera from stop to stop.

    Returns:
        float64, shape (frames, 4): column and row looked at, zoom, roll in degrees.
    """
    glide = round(0.55 * FPS)
    points: list[Path2d] = []
    for number, middle in enumerate(centres):
        points.append(np.repeat(middle[None], round(seconds[number] * FPS), 0))
        if number + 1 < len(centres):
            ease = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, glide + 2)[1:-1, None])
            points.append(middle + (centres[number + 1] - middle) * ease)
    path = np.concatenate(points)
    sway = [_sway(len(path), rng, amount) for amount in (16.0, 10.0, 0.10, 2.2)]
    return np.column_stack([path[:, 0] + sway[0], path[:, 1] + sway[1], np.exp(sway[2]), sway[3]])


def _sway(count: int, rng: np.random.Generator, amount: float) -> NDArray[np.float64]:
    t = np.arange(count) / FPS
    waves = [np.sin(2 * np.pi * (f * t + rng.random())) for f in (0.17, 0.41, 0.9)]
    return amount * (0.6 * waves[0] + 0.3 * waves[1] + 0.1 * waves[2])


def camera_frames(picture: Photo, track: Path2d, rng: np.random.Generator) -> Iterator[Photo]:
    """Film a long picture along a track: uint8 frames of FRAME_WH, BGR."""
    wide, high = FRAME_WH
    bank = rng.normal(0, 3.0, (4, high, wide + 128, 3)).astype(np.int16)
    gains = np.exp(_sway(len(track), rng, 0.06))
    speed = np.abs(np.gradient(track[:, 0]))
    for number, (x, y, zoom, roll) in enumerate(track):
        matrix = np.asarray(cv2.getRotationMatrix2D((x, y), roll, zoom))
        matrix[:, 2] += (wide / 2 - x, high / 2 - y)
        frame = cv2.warpAffine(picture, matrix, FRAME_WH, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if speed[number] > 6:
            frame = cv2.blur(frame, (1 + 2 * round(speed[number] / 12), 1))
        shift = number * 37 % 128
        grain = bank[number % 4, :, shift : shift + wide]
        yield np.asarray(cv2.add(cv2.convertScaleAbs(frame, alpha=gains[number]), grain, dtype=cv2.CV_8U), np.uint8)


def write_video(path: Path, frames: Iterator[Photo]) -> int:
    """Write frames of FRAME_WH to a video file; gives their number.

    Raises:
        SourceError: The video cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, FRAME_WH)
    if not writer.isOpened():
        raise SourceError(f"'{path}' cannot be written as a video: check the folder and the space left")
    count = 0
    try:
        for count, frame in enumerate(frames, 1):  # noqa: B007
            writer.write(frame)
    finally:
        writer.release()
    return count


def clear_views(shelf: Shelf, track: Path2d) -> tuple[Segment, ...]:
    """Find the runs of frames in which one stop lies wholly within what the device looks at."""
    labels = [_in_view(shelf, view) for view in track]
    segments: list[Segment] = []
    first = 0
    for number in range(1, len(labels) + 1):
        if number == len(labels) or labels[number] != labels[first]:
            stop = labels[first]
            if stop is not None and number - first >= 3:
                segments.append(Segment(shelf.labels[stop], first, number - 1))
            first = number
    return tuple(segments)


def _in_view(shelf: Shelf, view: Path2d) -> int | None:
    """Give the stop that lies wholly within the part of the frame that the device looks at."""
    half = FRAME_WH[1] * _SEEN / 2 / view[2]
    reach = np.abs(shelf.centres - view[:2]) + shelf.extents * 0.85
    stop = int(np.argmin(np.abs(shelf.centres[:, 0] - view[0])))
    return stop if bool(np.all(reach[stop] <= half)) else None
