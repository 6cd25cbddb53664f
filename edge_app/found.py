"""What `sightline predict` says of objects and areas, and the pictures that it draws of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from sightline.runtime import InputError, read_image
from sightline.runtime.objects import FoundObjects, ObjectRecognizer, nothing_found
from sightline.runtime.preprocess import Image
from sightline.runtime.recognizer import Lookup
from sightline.runtime.segmenter import Segmentation, Segmenter

from .console import print_json
from .marks import draw_areas, draw_marks, marks_of
from .pictures import write_picture

Found = FoundObjects | Segmentation | InputError


def overlay_folder(path: str) -> Path:
    """Make the folder of the pictures.

    Raises:
        InputError: It cannot be made.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--save-overlay '{path}' cannot be made: {error.strerror}") from error
    return folder


def look_at(
    files: Sequence[Path],
    looker: ObjectRecognizer | Segmenter,
    gallery: Lookup | None,
    k: int,
    overlays: Path | None,
    as_json: bool,
) -> int:
    """Find what image files show, tell it, and draw it.

    Args:
        files: The images.
        looker: What looks at them.
        gallery: Where objects are looked up, or None.
        k: Matches an object.
        overlays: A folder for pictures with what was found, or None.
        as_json: One JSON object a line instead of words.

    Returns:
        How many files could not be read.

    Raises:
        InputError: A picture cannot be written.
    """
    failed = 0
    for number, (file, frame_bgr, found) in enumerate(_answers(files, looker, gallery, k)):
        failed += isinstance(found, InputError)
        if as_json:
            print_json({"image": str(file), **_fields(found)})
        elif isinstance(found, InputError):
            click.echo(str(found), err=True)
        else:
            click.echo(f"{file}: {_words(found)}")
        if overlays is not None and frame_bgr is not None and not isinstance(found, InputError):
            # Files of several folders may share a name.
            name = file.stem if sum(one.stem == file.stem for one in files) == 1 else f"{number}-{file.stem}"
            write_picture(overlays / f"{name}.jpg", _draw(frame_bgr, found))
    return failed


def _answers(
    files: Sequence[Path], looker: ObjectRecognizer | Segmenter, gallery: Lookup | None, k: int
) -> Iterator[tuple[Path, Image | None, Found]]:
    for file in files:
        try:
            frame_bgr = read_image(file)
        except InputError as error:
            yield file, None, error
            continue
        if isinstance(looker, Segmenter):
            yield file, frame_bgr, looker.segment(frame_bgr)
        else:
            yield file, frame_bgr, looker.recognize(frame_bgr, gallery, k)


def _fields(found: Found) -> dict[str, Any]:
    if isinstance(found, InputError):
        return {"error": str(found)}
    latency = nothing_found(found.latency).to_dict()["latency_ms"]
    if isinstance(found, Segmentation):
        areas = {label: round(share, 4) for label, share in found.areas().items()}
        return {"areas": areas, "latency_ms": latency}
    return {"objects": [one.to_dict() for one in found.objects], "latency_ms": latency}


def _words(found: FoundObjects | Segmentation) -> str:
    if isinstance(found, Segmentation):
        return ", ".join(f"{label} {share:.1%}" for label, share in found.areas().items())
    said = []
    for one in found.objects:
        box, decision = one.detection.box, one.recognition.decision
        name = f"{decision.label} {decision.confidence:.0%}" if decision.known else "unknown"
        by = f" ({decision.decided_by})" if decision.known else ""
        where = f"{box.left},{box.top} {box.width}x{box.height}"
        said.append(f"{name}{by} at {where} [{one.detection.label} {one.detection.score:.0%}]")
    return "; ".join(said) or "no object found"


def _draw(frame_bgr: Image, found: FoundObjects | Segmentation) -> Image:
    canvas = frame_bgr.copy()
    if isinstance(found, Segmentation):
        draw_areas(canvas, found)
    else:
        draw_marks(canvas, marks_of(found.objects))
    return canvas
