"""Teaching: which views are kept, that learnt means on the disk, and undo."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from sightline.edge_app.teach import Refused, Removed, Taught, Teacher, TeachEvent, TeachPlan, sharpness
from sightline.runtime import Gallery, NewEntry
from sightline.runtime.errors import GalleryError
from sightline.runtime.preprocess import Image
from sightline.runtime.recognition import Candidate, Decision, Latency, Recognition
from tests.factories import picture

DIM = 8


def answer(direction: int) -> Recognition:
    embedding = np.zeros(DIM, np.float32)
    embedding[direction % DIM] = 1
    decision = Decision(None, False, 0.1, None)
    return Recognition(decision, (Candidate("x", 0.1),), (), np.ones(1, np.float32), embedding, Latency(1, 1, 1))


def blurred(frame: Image) -> Image:
    return cv2.GaussianBlur(frame, (0, 0), 6)


class Shelf:
    """A gallery in memory that fails on demand."""

    def __init__(self) -> None:
        self.entries: dict[int, NewEntry] = {}
        self.failure: Exception | None = None

    def add_many(self, entries: Sequence[NewEntry]) -> list[int]:
        if self.failure is not None:
            raise self.failure
        ids = [len(self.entries) + index for index in range(len(entries))]
        self.entries.update(zip(ids, entries, strict=True))
        return ids

    def remove(self, ids: Sequence[int]) -> int:
        if self.failure is not None:
            raise self.failure
        return sum(self.entries.pop(id, None) is not None for id in ids)


def outcome(poll: Callable[[], TeachEvent | None]) -> TeachEvent:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if (event := poll()) is not None:
            return event
        time.sleep(0.005)
    raise AssertionError("nothing came of it")


def test_varied_views_end_teaching_early() -> None:
    shelf = Shelf()
    teacher = Teacher(shelf, "camera://0")
    assert teacher.start("  blue   mug ") is None and teacher.progress == 0.0
    for index in range(5):
        assert teacher.progress == pytest.approx(index / 5)
        teacher.offer(picture("red", index), answer(index), index / 30)
    event = outcome(teacher.poll)
    assert event == Taught("blue mug", (0, 1, 2, 3, 4)) and teacher.progress is None
    assert {entry.source for entry in shelf.entries.values()} == {"taught: camera://0"}
    teacher.close()


def test_of_alike_views_the_sharpest_is_kept() -> None:
    shelf, sharp = Shelf(), picture("red", 0)
    teacher = Teacher(shelf, "cam")
    teacher.start("mug")
    for index, frame in enumerate([blurred(sharp), sharp, blurred(sharp)]):
        teacher.offer(frame, answer(0), index / 30)
    teacher.offer(blurred(sharp), answer(0), 2.1)
    assert outcome(teacher.poll) == Taught("mug", (0,))
    assert shelf.entries[0].crop is sharp
    teacher.close()


def test_blurred_views_are_not_kept_beside_sharp_ones() -> None:
    shelf = Shelf()
    teacher = Teacher(shelf, "cam")
    teacher.start("mug")
    for index in range(5):
        frame = picture("red", index)
        teacher.offer(frame if index < 2 else blurred(frame), answer(index), index / 30)
    event = outcome(teacher.poll)
    assert isinstance(event, Taught) and len(event.ids) == 2
    teacher.close()


def test_black_frames_teach_nothing_and_are_said() -> None:
    teacher = Teacher(Shelf(), "cam")
    teacher.start("mug")
    for moment in (0.0, 5.0, 10.1):
        teacher.offer(np.zeros((48, 64, 3), np.uint8), answer(0), moment)
    event = outcome(teacher.poll)
    assert isinstance(event, Refused) and "nothing was learnt" in event.message
    teacher.close()


@pytest.mark.parametrize("label", ["", "   ", "a\x07b"])
def test_an_item_needs_a_name(label: str) -> None:
    teacher = Teacher(Shelf(), "cam")
    assert teacher.start(label) is not None and not teacher.busy
    teacher.close()


def test_one_item_at_a_time_and_undo_ends_it() -> None:
    shelf = Shelf()
    teacher = Teacher(shelf, "cam")
    teacher.start("mug")
    assert isinstance(teacher.start("cup"), Refused)
    teacher.offer(picture("red", 0), answer(0), 0.0)
    assert isinstance(teacher.undo(), Refused) and not teacher.busy
    assert not shelf.entries
    teacher.close()


def test_undo_goes_back_step_by_step() -> None:
    shelf = Shelf()
    teacher = Teacher(shelf, "cam", TeachPlan(views=1))
    for index, label in enumerate(("mug", "cup")):
        teacher.start(label)
        teacher.offer(picture("red", index), answer(index), 0.0)
        assert outcome(teacher.poll) == Taught(label, (index,))
    for label, ids in (("cup", (1,)), ("mug", (0,))):
        assert teacher.undo() is None
        assert outcome(teacher.poll) == Removed(label, ids)
    assert isinstance(teacher.undo(), Refused) and not shelf.entries
    teacher.close()


@pytest.mark.parametrize("failure", [GalleryError("the disk is full"), OSError(28, "No space left on device")])
def test_a_disk_that_fails_is_said_and_teaching_goes_on(failure: Exception) -> None:
    shelf = Shelf()
    teacher = Teacher(shelf, "cam", TeachPlan(views=1))
    shelf.failure = failure
    teacher.start("mug")
    teacher.offer(picture("red", 0), answer(0), 0.0)
    event = outcome(teacher.poll)
    assert isinstance(event, Refused) and "'mug' was not learnt" in event.message
    shelf.failure = None
    teacher.start("mug")
    teacher.offer(picture("red", 0), answer(0), 0.0)
    assert isinstance(outcome(teacher.poll), Taught)
    shelf.failure = failure
    teacher.undo()
    event = outcome(teacher.poll)
    assert isinstance(event, Refused) and "not removed" in event.message
    teacher.close()


def test_finish_writes_what_was_seen(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "shop.gallery", model="tiny") as gallery:
        teacher = Teacher(gallery, "cam")
        teacher.start("mug")
        teacher.offer(picture("red", 0), answer(3), 0.0)
        event = teacher.finish()
        teacher.close()
    assert isinstance(event, Taught)
    with Gallery.open(tmp_path / "shop.gallery", model="tiny") as gallery:
        assert gallery.match(answer(3).embedding, 1)[0].label == "mug"
        assert gallery.crop(event.ids[0]) is not None


def test_finish_without_a_frame_says_so() -> None:
    teacher = Teacher(Shelf(), "cam")
    assert teacher.finish() is None
    teacher.start("mug")
    assert isinstance(teacher.finish(), Refused)
    teacher.close()


def test_sharpness_falls_with_blur_at_every_size() -> None:
    for size_wh in ((64, 48), (640, 480)):
        frame = picture("red", 0, size_wh)
        assert sharpness(blurred(frame)) < 0.5 * sharpness(frame)
