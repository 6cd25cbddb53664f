"""A contact sheet: the pictures of many entries on one picture or page."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from sightline.runtime.preprocess import Image

from .lettering import BOLD, draw_text, shorten

_TILE, _GAP, _TEXT, _HEAD, _MARGIN = 128, 14, 46, 44, 24
_INK, _GREY, _EMPTY = (40, 40, 40), (120, 120, 120), (236, 236, 236)
# A picture of more rows is refused by viewers; a page has no such end.
MOST_ROWS = 200


@dataclass(frozen=True, slots=True)
class Tile:
    """One entry: its picture as JPEG or None, a line in bold and one in small."""

    jpeg: bytes | None
    title: str
    note: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its entries."""

    heading: str
    tiles: tuple[Tile, ...]


def draw_sheet(sections: Sequence[Section], columns: int) -> Image:
    """Draw a sheet as a picture, uint8 (height, width, 3), BGR; at most `MOST_ROWS` rows of it."""
    heights = [_HEAD + _rows(section, columns) * (_TILE + _TEXT + _GAP) for section in sections]
    width = 2 * _MARGIN + columns * (_TILE + _GAP) - _GAP
    canvas = np.full((2 * _MARGIN + sum(heights), width, 3), 255, np.uint8)
    top = _MARGIN
    for section, height in zip(sections, heights, strict=True):
        heading = shorten(section.heading, 20, width - 2 * _MARGIN, BOLD)
        draw_text(canvas, heading, _MARGIN, top + 22, 20, _INK, BOLD)
        for number, tile in enumerate(section.tiles):
            row, column = divmod(number, columns)
            left = _MARGIN + column * (_TILE + _GAP)
            _draw_tile(canvas, tile, left, top + _HEAD + row * (_TILE + _TEXT + _GAP))
        top += height
    return canvas


def rows_of(sections: Sequence[Section], columns: int) -> int:
    """How many rows of tiles a picture of them has."""
    return sum(_rows(section, columns) for section in sections)


def write_page(sections: Sequence[Section], title: str) -> str:
    """Write a sheet as one HTML page that needs no other file."""
    body = "".join(
        f"<h2>{html.escape(section.heading)}</h2><div class=tiles>{''.join(map(_tile_html, section.tiles))}</div>"
        for section in sections
    )
    return _PAGE.format(title=html.escape(title), body=body)


def _draw_tile(canvas: Image, tile: Tile, left: int, top: int) -> None:
    cv2.rectangle(canvas, (left, top), (left + _TILE - 1, top + _TILE - 1), _EMPTY, -1)
    picture = cv2.imdecode(np.frombuffer(tile.jpeg, np.uint8), cv2.IMREAD_COLOR) if tile.jpeg else None
    if picture is not None:
        height, width = picture.shape[:2]
        scale = min(_TILE / width, _TILE / height)
        size_wh = max(1, round(width * scale)), max(1, round(height * scale))
        fitted = cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        x, y = left + (_TILE - size_wh[0]) // 2, top + (_TILE - size_wh[1]) // 2
        canvas[y : y + size_wh[1], x : x + size_wh[0]] = fitted
    draw_text(canvas, shorten(tile.title, 15, _TILE, BOLD), left, top + _TILE + 18, 15, _INK, BOLD)
    draw_text(canvas, shorten(tile.note, 13, _TILE), left, top + _TILE + 36, 13, _GREY)


def _tile_html(tile: Tile) -> str:
    data = base64.b64encode(tile.jpeg).decode() if tile.jpeg else ""
    picture = f'<img alt="" src="data:image/jpeg;base64,{data}">' if data else "<div class=none>no picture</div>"
    return (
        f"<figure>{picture}<figcaption><b>{html.escape(tile.title)}</b>{html.escape(tile.note)}</figcaption></figure>"
    )


def _rows(section: Section, columns: int) -> int:
    return -(-len(section.tiles) // columns)


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #282828; background: #fff; }}
h2 {{ font-size: 1.1rem; margin: 2rem 0 .7rem; overflow-wrap: anywhere; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); gap: 1rem; }}
figure {{ margin: 0; }}
img, .none {{ width: 100%; aspect-ratio: 1; object-fit: contain; background: #ececec; border-radius: 6px; }}
.none {{ display: grid; place-items: center; color: #666; }}
figcaption {{ font-size: .85rem; color: #5a5a5a; overflow-wrap: anywhere; }}
figcaption b {{ display: block; color: #282828; }}
</style>
<h1>{title}</h1>
{body}
</html>
"""
