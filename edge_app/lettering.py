"""Text on pictures: any script OpenCV has glyphs for, measured, shortened and drawn.

OpenCV 5 carries TrueType fonts (a variable sans and a universal one for CJK) and draws a line of 48 px in
0.06 ms. OpenCV 4 has only Hershey's strokes and turns every letter outside ASCII into question marks; there
accents are dropped instead.
"""

import functools
import unicodedata
from typing import Any

import cv2

from sightline.runtime.preprocess import Image

Colour = tuple[int, int, int]

REGULAR, BOLD = 420, 640
_HAS_FONTS = hasattr(cv2, "FontFace")


def draw_text(
    image: Image, text: str, left: int, baseline: int, size_px: int, colour: Colour, weight: int = REGULAR
) -> None:
    """Draw one line of text in place.

    Args:
        image: uint8, shape (height, width, 3), BGR.
        text: Any text; control characters and pictographs are left out.
        left: Column of the first letter.
        baseline: Row that the letters stand on.
        size_px: Height of the font, pixels.
        colour: BGR.
        weight: 100 (thin) to 1000 (black).
    """
    line = drawable(text)
    if not line:
        return
    if _HAS_FONTS:
        # A wrap range wider than the picture keeps an overlong line from running on in the next row.
        cv2.putText(image, line, (left, baseline), colour, _font(), size_px, weight, 0, (0, 1 << 20))
        return
    scale, thickness = _strokes(size_px, weight)
    cv2.putText(image, line, (left, baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA)


@functools.lru_cache(maxsize=2048)
def text_width(text: str, size_px: int, weight: int = REGULAR) -> int:
    """Columns that a line takes."""
    line = drawable(text)
    if not line:
        return 0
    if _HAS_FONTS:
        box = cv2.getTextSize((0, 0), line, (0, 0), _font(), size_px, weight, 0, (0, 1 << 20))
        return int(box[0] + box[2])
    scale, thickness = _strokes(size_px, weight)
    return int(cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)[0][0])


@functools.lru_cache(maxsize=1024)
def shorten(text: str, size_px: int, width: int, weight: int = REGULAR) -> str:
    """Cut a line to `width` columns, an ellipsis in place of what is missing."""
    if text_width(text, size_px, weight) <= width:
        return text
    ellipsis = "…" if _HAS_FONTS else "..."
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        fits = text_width(text[:middle].rstrip() + ellipsis, size_px, weight) <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return text[:low].rstrip() + ellipsis if low else ""


@functools.lru_cache(maxsize=1024)
def drawable(text: str) -> str:
    """Bring text to what can be drawn on one line."""
    spaced = " ".join(unicodedata.normalize("NFC", text).split())
    kept = " ".join("".join(letter for letter in spaced if not _undrawable(letter)).split())
    if _HAS_FONTS:
        return kept
    plain = unicodedata.normalize("NFKD", kept)
    return "".join(letter for letter in plain if not unicodedata.combining(letter)).strip()


def _undrawable(letter: str) -> bool:
    kind = unicodedata.category(letter)
    pictograph = kind == "So" and ord(letter) >= 0x2190
    return pictograph or kind in ("Cc", "Cf", "Cs", "Co") or 0xFE00 <= ord(letter) <= 0xFE0F


@functools.lru_cache(maxsize=1)
def _font() -> Any:
    return cv2.FontFace("sans")


def _strokes(size_px: int, weight: int) -> tuple[float, int]:
    scale = size_px / 32
    return scale, max(1, round(scale * (2.2 if weight >= BOLD else 1.4)))
