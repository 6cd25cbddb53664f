"""Writes a bundle: as a folder, or as one uncompressed zip where the name ends in `.sightline`.

What stood at the place before stays whole until the new bundle is complete, verified and on the disk.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from sightline.runtime.bundle import Bundle
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.durable import new_folder, write_file
from sightline.runtime.errors import BundleError
from sightline.runtime.golden import GOLDEN_NAME, GoldenCase, GoldenOutput, encode_golden, input_digest
from sightline.runtime.manifest import MANIFEST_NAME, FileEntry, Manifest, decode_manifest, encode_manifest
from sightline.runtime.preprocess import Image, InputSpec, decode_image, prepare, read_image, resize_exact
from sightline.runtime.session import Session

ARCHIVE_SUFFIX = ".sightline"
GOLDEN_IMAGES = 8
# Large enough that preprocessing on the device has something to crop and shrink.
_GOLDEN_SIDE = 512
_GOLDEN_QUALITY = 90
# The oldest date a zip can hold: the same content gives the same file on any day.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def check_place(out: str | Path) -> Path:
    """Make sure, before hours of work, that a bundle may be written here.

    Raises:
        BundleError: Something that is no bundle stands there, or the folder above cannot be made.
    """
    place = Path(out)
    archive = place.suffix == ARCHIVE_SUFFIX
    if place.exists() and archive and not (place.is_file() and zipfile.is_zipfile(place)):
        raise BundleError(f"'{out}' exists and is no bundle: name another place with --out")
    if place.exists() and not archive and not _is_replaceable(place):
        raise BundleError(f"'{out}' exists and is neither empty nor a bundle: name another place with --out")
    try:
        place.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"'{out}' cannot be written: {error.strerror}") from error
    return place


def file_entries(files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    """Give the manifest's list of files."""
    return {name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in sorted(files.items())}


def write_bundle(out: str | Path, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    """Write and verify a bundle.

    Args:
        out: Its place, see `check_place`.
        manifest: Its `files` are those of `file_entries`.
        files: Contents by name.

    Returns:
        The manifest as written, with its `bundle_id`.

    Raises:
        BundleError: It could not be written; what stood there before is whole.
    """
    place = check_place(out)
    encoded = encode_manifest(manifest)
    contents = {MANIFEST_NAME: encoded, **dict(sorted(files.items()))}
    try:
        if place.suffix == ARCHIVE_SUFFIX:
            write_file(place, _archive(contents))
        else:
            with new_folder(place) as folder:
                _fill(folder, contents)
                Bundle.load(folder)
    except OSError as error:
        raise BundleError(
            f"bundle '{out}' could not be written ({error.strerror}): what stood there before is untouched"
        ) from error
    return decode_manifest(encoded, str(out))


def golden_files(images: Sequence[LabelledImage], sessions: Mapping[str, Session], spec: InputSpec) -> dict[str, bytes]:
    """Make the golden photos with each variant's answers.

    Args:
        images: Evaluation photos; the first eight are taken.
        sessions: Opened models by the variant's name.
        spec: Size and crop.
    """
    files: dict[str, bytes] = {}
    cases: list[GoldenCase] = []
    for number, image in enumerate(images[:GOLDEN_IMAGES]):
        name = f"golden/{number}.jpg"
        files[name] = golden_photo(read_image(image.path))
        prepared = prepare(decode_image(files[name], name), spec)
        outputs = {variant: _golden_output(session, prepared) for variant, session in sessions.items()}
        cases.append(GoldenCase(name, input_digest(prepared), outputs))
    return {**files, GOLDEN_NAME: encode_golden(cases)}


def _golden_output(session: Session, prepared: Image) -> GoldenOutput:
    logits, embedding = session.run(prepared[None])
    return GoldenOutput(tuple(map(float, logits[0])), tuple(map(float, embedding[0])))


def golden_photo(frame_bgr: Image) -> bytes:
    """Encode a photo as JPEG, small enough to travel in every bundle."""
    rows, columns = frame_bgr.shape[:2]
    shrink = min(1.0, _GOLDEN_SIDE / max(rows, columns))
    if shrink < 1:
        frame_bgr = resize_exact(frame_bgr, max(1, round(columns * shrink)), max(1, round(rows * shrink)))
    done, data = cv2.imencode(".jpg", frame_bgr, [cv2.IMWRITE_JPEG_QUALITY, _GOLDEN_QUALITY])
    if not done:
        raise BundleError("a golden image could not be encoded as JPEG")
    return bytes(np.asarray(data).tobytes())


def _is_replaceable(place: Path) -> bool:
    return place.is_dir() and ((place / MANIFEST_NAME).is_file() or not any(place.iterdir()))


def _fill(folder: Path, contents: Mapping[str, bytes]) -> None:
    for name, data in contents.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def _archive(contents: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in contents.items():
            info = zipfile.ZipInfo(name, _ZIP_DATE)
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return stream.getvalue()
