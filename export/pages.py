"""What the workstation's pages share: one style sheet, pictures inside the page, figures in words.

Every page is one file that opens offline, without scripts, on a phone or a desk, in light or dark.
"""

import base64
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np

from sightline.runtime.preprocess import Image, read_image, resize_exact

from . import report_plots as plots
from .evaluate import Rate

_THUMBNAIL = 144


def render_page(template: str, **values: Any) -> str:
    """Fill one of the templates beside this module."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        points=_points,
        megabytes=_megabytes,
        spell=spell,
        bar=plots.interval_bar,
        share=plots.share_bar,
    )
    return environment.get_template(template).render(**values)


def thumbnail(path: Path, side: int = _THUMBNAIL) -> str:
    """Give the middle square of a photo as a data address."""
    return data_address(square(read_image(path), side))


def square(frame: Image, side: int = _THUMBNAIL) -> Image:
    """Give the middle square of a frame, uint8 (side, side, 3)."""
    rows, columns = frame.shape[:2]
    edge = min(rows, columns)
    top, left = (rows - edge) // 2, (columns - edge) // 2
    return resize_exact(frame[top : top + edge, left : left + edge], side, side)


def data_address(image_bgr: Image) -> str:
    """Give a picture as the address of an `<img>` that needs no file."""
    _, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return "data:image/jpeg;base64," + base64.b64encode(np.asarray(data).tobytes()).decode()


def percent(value: float | None, digits: int = 1) -> str:
    """Spell a share."""
    return "–" if value is None or not np.isfinite(value) else f"{100 * value:.{digits}f} %"


def spell(rate: Rate) -> str:
    """Spell the interval of a share."""
    return f"{100 * rate.low:.1f} to {100 * rate.high:.1f} %"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


def _megabytes(value: int) -> str:
    return f"{value / 1e6:.2f} MB"
