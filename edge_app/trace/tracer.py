"""The run's side of a trace: hears what the loop decides, and keeps it on a thread of its own."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from sqlite3 import Error as SqliteError

import cv2
import numpy as np
from numpy.typing import NDArray

from sightline.runtime import Bundle, Gallery, Recognizer
from sightline.runtime.errors import SightlineError
from sightline.runtime.gallery.crops import shrink
from sightline.runtime.preprocess import Image, prepare
from sightline.runtime.recognition import Recognition

from ..connection import Frame
from ..listeners import Deaf
from ..outputs.outbox import DeliveryFailed, Outbox
from ..reader import Status
from ..sight import Manner, Seen
from ..sources import Source
from ..teach import Refused, TeachEvent
from .shot import About, Said, Shot
from .store import TraceStore

# Each waiting frame holds its pixels: 2.8 MB at 720p.
_WAITING = 8
_CLOSE_S = 0.5
# For the last frames of a file, where the disk takes them at all.
_CLOSE_FILE_S = 10.0
_JPEG_QUALITY = 80


@dataclass(frozen=True, slots=True, eq=False)
class _Heard:
    place: int
    number: int
    at_s: float
    view_bgr: Image
    frame_bgr: Image
    raw: Recognition
    shown: Recognition
    bundle: Bundle
    fresh_start: bool


class Tracer(Deaf):
    """Keeps every answered frame. Where the disk cannot follow, a camera's frames leave a gap and a file waits.

    Args:
        store: The ring.
        recognizer: What answers, for its bundle.
        gallery: What is looked up in, for the vectors of its entries, or None.
        manner: How frames are looked at.
        say: Told when the disk does not take it.
        waits: Whether the loop waits for the disk.
    """

    def __init__(
        self,
        store: TraceStore,
        recognizer: Recognizer,
        gallery: Gallery | None,
        manner: Manner,
        say: Callable[[str], None],
        waits: bool,
    ) -> None:
        self._recognizer, self._manner = recognizer, manner
        self._place, self._fresh_start, self._waits = 0, True, waits
        self._bundle = recognizer.bundle
        keeping = _Keeping(store, gallery)
        self._outbox: Outbox[_Heard] = Outbox(keeping, say, capacity=_WAITING, batch=_WAITING, waits=waits)

    def decided(self, frame: Frame, seen: Seen, age_ms: float) -> None:
        """Keep an answered frame."""
        self._place += 1
        at_s = time.time() - (time.monotonic() - frame.taken_s)
        bundle, self._bundle = self._bundle, self._recognizer.bundle
        fresh = self._fresh_start or self._bundle is not bundle
        pixels = self._manner.region.of(frame.image_bgr), frame.image_bgr
        answers = seen.recognition, seen.shown
        self._outbox.put(_Heard(self._place, frame.number, at_s, *pixels, *answers, self._bundle, fresh))
        self._fresh_start = False

    def state(self, status: Status) -> None:
        """Note that the votes begin anew where the source was away."""
        self._fresh_start |= status.state.away

    def teaching(self, event: TeachEvent) -> None:
        """Note that the votes begin anew where the gallery was changed."""
        self._fresh_start |= not isinstance(event, Refused)

    def close(self) -> None:
        """Keep what waits and close the ring."""
        patient = self._waits and not self._outbox.status.trouble
        self._outbox.finish(time.monotonic() + (_CLOSE_FILE_S if patient else _CLOSE_S))
        self._outbox.join()


class _Keeping:
    """The way from the queue to the ring."""

    name = "trace"

    def __init__(self, store: TraceStore, gallery: Gallery | None) -> None:
        self._store, self._gallery = store, gallery
        self._kept = 0

    def deliver(self, items: Sequence[_Heard]) -> None:
        """Prepare frames once more as the model got them, and keep them."""
        try:
            for bundle in {one.bundle.bundle_id: one.bundle for one in items}.values():
                self._store.keep_bundle(bundle)
            before = [self._kept, *(one.place for one in items)]
            shots = [_shot(one, one.place != last + 1) for last, one in zip(before, items, strict=False)]
            self._store.append(shots, self._vectors(shots))
            # Only now: a batch that is tried again follows what it followed.
            self._kept = items[-1].place
        except (OSError, SqliteError, SightlineError) as error:
            raise DeliveryFailed(f"cannot be written: {error}") from error

    def close(self) -> None:
        """Close the ring."""
        self._store.close()

    def _vectors(self, shots: Sequence[Shot]) -> dict[int, NDArray[np.float32]]:
        ids = {match.id for shot in shots for match in shot.said.matches}
        wanted = self._store.unknown(ids) if ids else []
        return self._gallery.vectors(wanted) if wanted and self._gallery is not None else {}


def open_tracer(
    folder: str,
    max_bytes: int,
    source: Source,
    recognizer: Recognizer,
    gallery: Gallery | None,
    manner: Manner,
    say: Callable[[str], None],
) -> Tracer:
    """Begin a trace.

    Raises:
        InputError: The folder cannot be written.
    """
    about = About(
        recognizer.variant.name,
        recognizer.provider.obtained,
        manner.k,
        manner.votes,
        source.name,
        f"{platform.machine()}, {platform.system()} {platform.release()}",
        {name: _version(name) for name in ("sightline", "numpy", "onnxruntime", "opencv-python")},
    )
    store = TraceStore(Path(folder), about, max_bytes)
    return Tracer(store, recognizer, gallery, manner, say, waits=not source.live)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _shot(heard: _Heard, gap: bool) -> Shot:
    raw, shown = heard.raw, heard.shown
    said = Said(raw.decision, shown.decision, raw.matches, heard.fresh_start, gap)
    prepared = prepare(heard.view_bgr, heard.bundle.input_spec)
    return Shot(heard.number, heard.at_s, heard.bundle.bundle_id, prepared, _jpeg(heard.frame_bgr), said)


def _jpeg(frame_bgr: Image) -> bytes:
    return cv2.imencode(".jpg", shrink(frame_bgr), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
