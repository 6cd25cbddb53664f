"""One picture of the whole demo: what was drawn, and the new item before, while and after it was taught."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from sightline.runtime.durable import write_file
from sightline.runtime.preprocess import Image, read_image, resize_exact

from ..lettering import BOLD, draw_text
from .clip import Clip

_WIDTH, _GAP, _TITLE = 1280, 8, 44
_PAPER, _INK = (246, 247, 248), (52, 44, 40)
_COLUMNS = 12


def write_poster(path: Path, photos: Sequence[Path], annotated: Path, clip: Clip) -> None:
    """Write the poster as PNG.

    Args:
        path: The picture to write.
        photos: Training photos to show, the first two rows of twelve at most.
        annotated: The recorded video.
        clip: What it shows and when.
    """
    before, after = _moments(clip)
    frames = _grab(annotated, (before, after))
    parts = [_title("What it learns from"), _tiles([_thumb(photo) for photo in photos[: 2 * _COLUMNS]], _COLUMNS)]
    if len(frames) == 2:
        parts += [_title(f"{clip.novel.capitalize()}: never seen before, then taught from the clip"), _tiles(frames, 2)]
    edge = np.full((_GAP, _WIDTH, 3), _PAPER, np.uint8)
    done, data = cv2.imencode(".png", np.concatenate([*parts, edge]), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if done:
        write_file(path, data.tobytes())


def _moments(clip: Clip) -> tuple[int, int]:
    """Give a frame shortly before the first lesson, and the middle of the next stop at the same item."""
    lesson = next(s for s in clip.segments if s.first <= clip.teach_at[-1] <= s.last)
    later = [s for s in clip.segments if s.label == clip.novel and s.first > lesson.last]
    last = later[0] if later else lesson
    return max(0, clip.teach_at[0] - 2), (last.first + last.last) // 2


def _grab(video: Path, numbers: Sequence[int]) -> list[Image]:
    capture = cv2.VideoCapture(str(video))
    frames: list[Image] = []
    try:
        for number in range(max(numbers) + 1):
            read, frame = capture.read()
            if not read:
                break
            if number in numbers:
                frames.append(np.asarray(frame, np.uint8))
    finally:
        capture.release()
    return frames


def _thumb(photo: Path) -> Image:
    frame = read_image(photo)
    rows, columns = frame.shape[:2]
    edge = min(rows, columns)
    top, left = (rows - edge) // 2, (columns - edge) // 2
    return np.ascontiguousarray(frame[top : top + edge, left : left + edge])


def _tiles(pictures: Sequence[Image], columns: int) -> Image:
    if not pictures:
        return np.empty((0, _WIDTH, 3), np.uint8)
    wide = (_WIDTH - (columns + 1) * _GAP) // columns
    high = round(wide * pictures[0].shape[0] / pictures[0].shape[1])
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (high + _GAP), _WIDTH, 3), _PAPER, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * (high + _GAP), _GAP + number % columns * (wide + _GAP)
        sheet[top : top + high, left : left + wide] = resize_exact(picture, wide, high)
    return sheet


def _title(text: str) -> Image:
    strip = np.full((_TITLE, _WIDTH, 3), _PAPER, np.uint8)
    draw_text(strip, text, _GAP + 2, 31, 22, _INK, BOLD)
    return strip
