"""Teaching by showing: a name, a second or two of the item in view, and entries that are on the disk.

`Teacher` is fed the frames that the loop decides on anyway. Of those it keeps a few sharp and varied ones,
writes them in one transaction on a thread of its own (a flush to an SD card takes longer than a frame) and
tells only then that the item is learnt. No picture is kept beyond the gallery's small crops.
"""

import itertools
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from sightline.runtime import NewEntry, SightlineError
from sightline.runtime.preprocess import Image
from sightline.runtime.recognition import Recognition

# Two views closer than this teach nothing new: frames of one still item lie at 0.99 and above.
SAME_VIEW_COSINE = 0.985
# Sharpness against the sharpest kept view; below it the item or the hand moved.
SHARP_ENOUGH = 0.5
BLACK_LEVEL = 8.0
MAX_UNDO = 50


class Teachable(Protocol):
    """What teaching needs of a gallery."""

    def add_many(self, entries: Sequence[NewEntry]) -> list[int]:
        """Store entries in one transaction; on the disk when it returns."""

    def remove(self, ids: Sequence[int]) -> int:
        """Remove entries; gone from the disk when it returns."""


@dataclass(frozen=True, slots=True)
class Taught:
    """An item was learnt: it is on the disk and found from the next frame on."""

    label: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """What was taught last was taken back."""

    label: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was learnt or removed, and why."""

    message: str


TeachEvent: TypeAlias = Taught | Removed | Refused


@dataclass(frozen=True, slots=True)
class TeachPlan:
    """How long an item is looked at.

    Attributes:
        views: Views kept at most.
        collect_s: Seconds from the first frame until what there is must do.
        wait_s: Seconds without a usable frame until teaching is given up.
    """

    views: int = 5
    collect_s: float = 2.0
    wait_s: float = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """A view chosen for an item that is being taught.

    Attributes:
        number: Names it within this run.
        crop_bgr: uint8, shape (height, width, 3), BGR.
    """

    number: int
    crop_bgr: Image


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """An item that is being taught.

    Attributes:
        label: Its name.
        views: What was chosen of it so far.
        wanted: Views that end it early.
        writing: Whether it was seen enough and is on its way to the disk.
    """

    label: str
    views: tuple[Chosen, ...]
    wanted: int
    writing: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    number: int
    crop_bgr: Image
    embedding: NDArray[np.float32]
    sharpness: float


class Teacher:
    """Learns what is in view, and takes it back.

    Not thread-safe: the loop calls it. Times are seconds of the stream, so that a video file that is read
    faster than it was filmed teaches as many seconds of it.

    Args:
        gallery: Where entries go.
        source: What entries name as their source.
        plan: How long to look.
    """

    def __init__(self, gallery: Teachable, source: str, plan: TeachPlan | None = None) -> None:
        self._gallery, self._source = gallery, source
        self._plan = plan or TeachPlan()
        self._label: str | None = None
        self._asked_s: float | None = None
        self._first_s: float | None = None
        self._seen: list[_Seen] = []
        self._learnt: list[Taught] = []
        self._numbers = itertools.count(1)
        self._written: Lesson | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sightline-teach")
        self._writing: Future[TeachEvent] | None = None

    @property
    def busy(self) -> bool:
        """Whether an item is being looked at or written."""
        return self._label is not None or self._writing is not None

    @property
    def progress(self) -> float | None:
        """How much of the item was seen, 0 to 1; None while nothing is taught."""
        if self._writing is not None:
            return 1.0
        return None if self._label is None else len(self._seen) / self._plan.views

    @property
    def lesson(self) -> Lesson | None:
        """What is being taught, with the views chosen so far; None while nothing is."""
        if self._label is None:
            return self._written
        views = tuple(Chosen(seen.number, seen.crop_bgr) for seen in self._seen)
        return Lesson(self._label, views, self._plan.views, False)

    @property
    def undoable(self) -> bool:
        """Whether something was taught that `undo` takes back."""
        return bool(self._learnt)

    def start(self, label: str) -> Refused | None:
        """Begin to look at what is in view.

        Returns:
            Why not, or None when it began.
        """
        name = " ".join(label.split())
        if self.busy:
            return Refused("one item at a time: the last one is still being learnt")
        if not name or not name.isprintable():
            return Refused("an item needs a name")
        self._label, self._asked_s, self._first_s, self._seen = name, None, None, []
        return None

    def offer(self, frame_bgr: Image, recognition: Recognition, stream_s: float) -> None:
        """Look at one decided frame; does nothing while nothing is taught.

        Args:
            frame_bgr: uint8, shape (height, width, 3), BGR.
            recognition: The answer to it.
            stream_s: Its time, seconds.
        """
        if self._label is None:
            return
        self._asked_s = stream_s if self._asked_s is None else self._asked_s
        if frame_bgr.mean() >= BLACK_LEVEL:
            self._first_s = stream_s if self._first_s is None else self._first_s
            self._keep(_Seen(next(self._numbers), frame_bgr, recognition.embedding, sharpness(frame_bgr)))
        if self._enough(stream_s):
            self._write()
        elif self._first_s is None and stream_s - self._asked_s > self._plan.wait_s:
            self._give_up()

    def poll(self) -> TeachEvent | None:
        """Tell once what became of the last start or undo; None while it is not decided."""
        if self._writing is None or not self._writing.done():
            return None
        event, self._writing, self._written = self._writing.result(), None, None
        if isinstance(event, Taught):
            self._learnt = [*self._learnt, event][-MAX_UNDO:]
        elif isinstance(event, Removed):
            self._learnt = [one for one in self._learnt if one.ids != event.ids]
        return event

    def undo(self) -> Refused | None:
        """Begin to take back what was taught last; ends an item that is being looked at.

        Returns:
            Why not, or None when it began.
        """
        if self._label is not None:
            return self.cancel()
        if self._writing is not None:
            return Refused("one moment: the last item is still being written")
        if not self._learnt:
            return Refused("nothing was taught since the start")
        self._writing = self._writer.submit(self._remove, self._learnt[-1])
        return None

    def cancel(self) -> Refused | None:
        """End an item that is being looked at; None where nothing is, and what was learnt stays learnt."""
        if self._label is None:
            return None
        self._label, self._seen = None, []
        return Refused("nothing was learnt")

    def forget(self, ids: Sequence[int]) -> None:
        """Note that somebody else removed entries: there is nothing left of them to take back."""
        gone = set(ids)
        left = [Taught(one.label, tuple(id for id in one.ids if id not in gone)) for one in self._learnt]
        self._learnt = [one for one in left if one.ids]

    def finish(self) -> TeachEvent | None:
        """Write what was seen of an unfinished item, wait for the disk, and tell what became of it."""
        if self._label is not None:
            self._write() if self._seen else self._give_up()
        if self._writing is not None:
            self._writing.exception()
        return self.poll()

    def close(self) -> None:
        """Wait until what is being written is on the disk."""
        self._writer.shutdown(wait=True)

    def _keep(self, seen: _Seen) -> None:
        twin = next((at for at, kept in enumerate(self._seen) if _alike(kept, seen)), None)
        if twin is not None:
            if seen.sharpness > self._seen[twin].sharpness:
                self._seen[twin] = seen
        elif len(self._seen) < self._plan.views:
            self._seen.append(seen)

    def _enough(self, stream_s: float) -> bool:
        if self._first_s is None:
            return False
        return len(self._seen) >= self._plan.views or stream_s - self._first_s >= self._plan.collect_s

    def _write(self) -> None:
        label, seen = self._label or "", self._seen
        views = tuple(Chosen(view.number, view.crop_bgr) for view in seen)
        self._written = Lesson(label, views, self._plan.views, True)
        self._label, self._seen = None, []
        best = max(view.sharpness for view in seen)
        entries = [
            NewEntry(label, view.embedding, view.crop_bgr, {}, f"taught: {self._source}")
            for view in seen
            if view.sharpness >= SHARP_ENOUGH * best
        ]
        self._writing = self._writer.submit(self._add, label, entries)

    def _give_up(self) -> None:
        self._label = None
        refused: Future[TeachEvent] = Future()
        refused.set_result(Refused("nothing was learnt: no picture came that shows anything"))
        self._writing = refused

    def _add(self, label: str, entries: Sequence[NewEntry]) -> TeachEvent:
        try:
            return Taught(label, tuple(self._gallery.add_many(entries)))
        except (SightlineError, OSError) as error:
            return Refused(f"'{label}' was not learnt: {error}")

    def _remove(self, taught: Taught) -> TeachEvent:
        try:
            self._gallery.remove(taught.ids)
        except (SightlineError, OSError) as error:
            return Refused(f"'{taught.label}' was not removed: {error}")
        return Removed(taught.label, taught.ids)


def sharpness(frame_bgr: Image) -> float:
    """Variance of the Laplacian at about 240 rows: falls to a fraction when the item or the hand moves."""
    step = max(1, frame_bgr.shape[0] // 240)
    grey = cv2.cvtColor(np.ascontiguousarray(frame_bgr[::step, ::step]), cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def _alike(first: _Seen, second: _Seen) -> bool:
    return float(first.embedding @ second.embedding) > SAME_VIEW_COSINE
