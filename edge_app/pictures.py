"""Pictures and pages that commands write."""

from pathlib import Path

import cv2

from sightline.runtime import InputError
from sightline.runtime.durable import write_file
from sightline.runtime.preprocess import Image

SUFFIXES = (".png", ".jpg", ".jpeg")


def check_picture(file: Path) -> None:
    """Refuse a file name that no picture can be written to, before any work is done.

    Raises:
        InputError: Its ending is none of a picture's, or its folder does not exist.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise InputError(f"'{file}' is no picture's name: expected it to end in {', '.join(SUFFIXES)}")
    if not file.absolute().parent.is_dir():
        raise InputError(f"'{file}' cannot be written: its folder does not exist")


def write_picture(file: Path, image_bgr: Image) -> None:
    """Write a picture, whole or not at all.

    Raises:
        InputError: It cannot be written there.
    """
    check_picture(file)
    done, data = cv2.imencode(file.suffix.lower(), image_bgr)
    if not done:
        raise InputError(f"'{file}' cannot be written: OpenCV cannot encode it")
    try:
        write_file(file, data.tobytes())
    except OSError as error:
        raise InputError(f"'{file}' cannot be written: {error.strerror or error}") from error


def check_page(file: Path) -> None:
    """Refuse a file name that no page can be written to, before any work is done.

    Raises:
        InputError: It does not end in .html, or its folder does not exist.
    """
    if file.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"'{file}' is no page's name: expected it to end in .html")
    if not file.absolute().parent.is_dir():
        raise InputError(f"'{file}' cannot be written: its folder does not exist")


def write_page_file(file: Path, text: str) -> None:
    """Write a page, whole or not at all.

    Raises:
        InputError: It cannot be written there.
    """
    try:
        write_file(file, text.encode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"'{file}' cannot be written: {error.strerror or error}") from error
