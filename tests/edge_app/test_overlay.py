"""The overlay: that what must be read can be found in the pixels, at every size, in every script."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from sightline.edge_app import lettering
from sightline.edge_app.lettering import draw_text, drawable, shorten, text_width
from sightline.edge_app.overlay import Notice, Overlay, Thumbnails, View
from sightline.edge_app.reader import State, Status
from sightline.edge_app.region import Box
from sightline.runtime.errors import GalleryError
from sightline.runtime.preprocess import Image
from sightline.runtime.recognition import Candidate, Decision, Latency, Match, Recognition

LIVE = Status(State.LIVE, "", 1, 0, 0)
SIZES = [(320, 240), (640, 360), (800, 480), (1280, 720), (1920, 1080), (480, 854), (101, 37)]


def recognition(label: str | None = "mug", by: str | None = "classifier", matches: int = 3) -> Recognition:
    near = tuple(Match(index + 1, f"item {index}", 0.9 - index / 10, {}) for index in range(matches))
    decision = Decision(label, label is not None, 0.9, by)
    empty = np.zeros(4, np.float32)
    return Recognition(decision, (Candidate("cup", 0.3),), near, empty, empty, Latency(1, 2, 3))


def frame(size_wh: tuple[int, int] = (1280, 720)) -> Image:
    return np.full((size_wh[1], size_wh[0], 3), 128, np.uint8)


def red_jpeg(entry: int) -> bytes:
    return cv2.imencode(".jpg", np.full((90, 160, 3), (0, 0, 255), np.uint8))[1].tobytes()


@pytest.mark.parametrize("size_wh", SIZES)
@pytest.mark.parametrize(
    "view",
    [
        View(LIVE, recognition(), 29.7, 31.0, keys="t teach  ·  q quit", seen=Box(20, 10, 90, 30)),
        View(LIVE, recognition(None, None, 5), None, None, prompt="blue mug"),
        View(
            LIVE, recognition("苹果 with a name that is far too long to be shown in one line anywhere" * 3, "gallery")
        ),
        View(Status(State.LOST, "unplugged " * 40, 3, 0, 0), notice=Notice("failed", False)),
        View(Status(State.CONNECTING, "", 1, 0, 0), progress=0.4),
    ],
    ids=["known", "unknown", "long", "lost", "connecting"],
)
def test_every_view_fits_every_size(size_wh: tuple[int, int], view: View) -> None:
    before = frame(size_wh)
    canvas = Overlay(Thumbnails(red_jpeg)).draw(before, view)
    assert canvas.shape == before.shape and canvas.dtype == np.uint8
    assert np.all(before == 128), "the frame itself must stay as it was"
    assert not np.array_equal(canvas, before)


def test_without_any_frame_there_is_still_a_picture() -> None:
    assert Overlay().draw(None, View(Status(State.CONNECTING, "", 1, 0, 0))).shape == (720, 1280, 3)


def test_label_and_confidence_change_the_answers_bar_only() -> None:
    overlay = Overlay()
    first = overlay.draw(frame(), View(LIVE, recognition("mug")))
    second = overlay.draw(frame(), View(LIVE, recognition("cup")))
    rows = np.flatnonzero((first != second).any(axis=(1, 2)))
    assert rows.size and rows.min() > 580


def test_known_unknown_and_gallery_have_colours_of_their_own() -> None:
    overlay, seen = Overlay(), set()
    for label, by in (("mug", "classifier"), ("mug", "gallery"), (None, None)):
        canvas = overlay.draw(frame(), View(LIVE, recognition(label, by)))
        seen.add(tuple(canvas[700, 2]))
    assert len(seen) == 3


@pytest.mark.parametrize("state", [State.CONNECTING, State.STALLED, State.LOST, State.ENDED])
def test_without_an_answer_no_label_is_shown(state: State) -> None:
    overlay, last = Overlay(), frame()
    shown = overlay.draw(last, View(replace(LIVE, state=state)))
    plain = overlay.draw(last, View(replace(LIVE, state=state), fps=20.0, age_ms=5.0))
    assert np.array_equal(shown, plain)
    assert shown[690].max() < 128, "the bar of an answer must not be there, only the dimmed frame"


def test_matches_are_shown_with_their_pictures() -> None:
    canvas = Overlay(Thumbnails(red_jpeg)).draw(frame(), View(LIVE, recognition(matches=5)))
    red = (canvas[..., 2] > 200) & (canvas[..., 1] < 60) & (canvas[..., 0] < 60)
    columns = np.flatnonzero(red[620])
    assert 4 <= np.count_nonzero(np.diff(columns) > 5) + 1 <= 5


@pytest.mark.parametrize("size_wh", [(320, 240), (480, 854)])
def test_the_label_keeps_room_beside_many_matches(size_wh: tuple[int, int]) -> None:
    canvas = Overlay(Thumbnails(red_jpeg)).draw(frame(size_wh), View(LIVE, recognition(matches=5)))
    red = (canvas[..., 2] > 200) & (canvas[..., 1] < 60) & (canvas[..., 0] < 60)
    assert np.flatnonzero(red.any(axis=0)).min() > size_wh[0] * 0.4


def test_pictures_are_asked_for_once_and_their_loss_is_no_failure() -> None:
    asked: list[int] = []

    def crop(entry: int) -> bytes | None:
        asked.append(entry)
        if entry == 2:
            raise GalleryError("damaged")
        return b"no jpeg" if entry == 3 else None

    overlay = Overlay(Thumbnails(crop))
    for _ in range(3):
        overlay.draw(frame(), View(LIVE, recognition(matches=3)))
    assert sorted(asked) == [1, 2, 3]
    overlay.forget()
    overlay.draw(frame(), View(LIVE, recognition(matches=3)))
    assert len(asked) == 6


@pytest.mark.skipif(not hasattr(cv2, "FontFace"), reason="OpenCV 4 has no fonts, only strokes")
@pytest.mark.parametrize(
    "text", ["Crème brûlée", "Äpfel", "Яблоко", "Ελιές", "苹果", "りんご", "사과", "תפוח", "½ Łódź"]
)
def test_letters_of_other_alphabets_are_no_question_marks(text: str) -> None:
    def drawn(line: str) -> Image:
        canvas = np.zeros((60, 600, 3), np.uint8)
        draw_text(canvas, line, 10, 44, 36, (255, 255, 255))
        return canvas

    marks = "".join("?" if ord(letter) > 127 else letter for letter in text)
    assert drawn(text).any() and not np.array_equal(drawn(text), drawn(marks))


def test_without_fonts_accents_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_HAS_FONTS", False)
    for cached in (lettering.drawable, lettering.text_width, lettering.shorten):
        cached.cache_clear()
    canvas = np.zeros((60, 600, 3), np.uint8)
    draw_text(canvas, "Crème brûlée", 10, 44, 36, (255, 255, 255))
    assert drawable("Crème brûlée") == "Creme brulee" and canvas.any()
    assert text_width(shorten("a long line of words", 30, 120), 30) <= 120
    for cached in (lettering.drawable, lettering.text_width, lettering.shorten):
        cached.cache_clear()


@pytest.mark.parametrize("width", [0, 20, 100, 300, 2000])
@pytest.mark.parametrize("text", ["Golden Delicious from the valley", "苹果苹果苹果苹果苹果苹果苹果", "", "x"])
def test_shortened_lines_fit(text: str, width: int) -> None:
    line = shorten(text, 32, width)
    assert text_width(line, 32) <= width
    if text_width(text, 32) <= width:
        assert line == text


def test_control_characters_and_pictographs_are_left_out() -> None:
    assert drawable("two\nlines\tand \x07 bell ☕🍎") == "two lines and bell"
