"""What the page says: states in words, answers, and when there is nothing to say."""

import time

import numpy as np
import pytest

from sightline.edge_app.connection import Frame
from sightline.edge_app.kiosk.feed import STILL_S, Happening, Moment
from sightline.edge_app.kiosk.kiosk import Kiosk
from sightline.edge_app.kiosk.words import SILENT_S, Abilities, describe
from sightline.edge_app.overlay import View
from sightline.edge_app.reader import State, Status
from sightline.edge_app.region import Box
from sightline.runtime.recognition import Candidate, Decision, Latency, Match, Recognition

IMAGE = np.zeros((60, 80, 3), np.uint8)


def answer(decision: Decision, matches: tuple[Match, ...] = ()) -> Recognition:
    return Recognition(
        decision, (Candidate("apple", 0.41),), matches, np.ones(1, np.float32), np.ones(1, np.float32), Latency(1, 2, 3)
    )


KNOWN = answer(Decision("apple", True, 0.93, "classifier"))


def moment(
    state: State = State.LIVE,
    recognition: Recognition | None = KNOWN,
    at_s: float | None = None,
    paused: bool = False,
    number: int = 7,
    taken_s: float | None = None,
) -> Moment:
    now = time.monotonic()
    frame = Frame(IMAGE, number, now - 0.25 if taken_s is None else taken_s)
    view = View(Status(state, "why", 1, 0, 0), recognition, 29.5, seen=Box(8, 6, 72, 54), paused=paused)
    return Moment(frame, view, None, False, (), now if at_s is None else at_s, 3)


def said(shown: Moment | None) -> str:
    state = describe(shown, "boot", "assets", live=True, can=Abilities(True, True))
    return state.answer.how if state.answer else ""


@pytest.mark.parametrize(
    ("decision", "matches", "how"),
    [
        (Decision("apple", True, 0.934, "classifier"), (), "93% sure"),
        (Decision("mug", True, 0.61, "gallery"), (), "61% similar, from the gallery"),
        (Decision(None, False, 0.4, None), (Match(1, "mug", 0.512, {}),), "nearest: mug, 51% similar"),
        (Decision(None, False, 0.4, None), (Match(1, "mug", -0.2, {}),), "nearest: mug, 0% similar"),
        (Decision(None, False, 0.4, None), (), "best guess: apple, 41%"),
    ],
)
def test_how_sure_an_answer_is(decision: Decision, matches: tuple[Match, ...], how: str) -> None:
    assert said(moment(recognition=answer(decision, matches))) == how


@pytest.mark.parametrize("state", list(State))
def test_every_state_has_words(state: State) -> None:
    camera = describe(moment(state, None), "boot", "assets", live=True, can=Abilities(True, True)).camera
    assert camera.state == state and camera.headline and camera.age_ms is not None
    assert bool(camera.remedy) is (state not in (State.LIVE, State.ENDED))


@pytest.mark.parametrize(("detail", "headline"), [("", "Connecting to the camera"), ("refused", "No camera yet")])
def test_a_camera_that_was_never_there_is_said_to_be_missing(detail: str, headline: str) -> None:
    view = View(Status(State.CONNECTING, detail, 3, 0, 0), None, None)
    shown = Moment(None, view, None, False, (), time.monotonic(), 3)
    camera = describe(shown, "boot", "assets", live=True, can=Abilities(True, True)).camera
    assert camera.headline == headline and camera.remedy and camera.detail == detail


def test_the_picture_is_described_in_fractions_and_a_file_has_no_age() -> None:
    state = describe(moment(), "boot", "assets", live=False, can=Abilities(True, True))
    assert state.picture is not None and state.picture.seen == (0.1, 0.1, 0.9, 0.9)
    assert (state.picture.number, state.picture.width, state.picture.height) == (7, 80, 60)
    assert state.camera.age_ms is None


def test_a_loop_that_hangs_has_no_answer() -> None:
    state = describe(
        moment(at_s=time.monotonic() - SILENT_S - 1), "boot", "assets", live=True, can=Abilities(True, True)
    )
    assert state.answer is None and state.matches == () and state.camera.headline == "The program does not answer"


def test_before_the_first_moment_it_is_starting() -> None:
    state = describe(None, "boot", "assets", live=True, can=Abilities(False, False))
    assert state.camera.headline == "Starting" and state.answer is None and state.picture is None


def test_a_paused_run_says_so() -> None:
    assert describe(moment(paused=True), "b", "a", live=True, can=Abilities(True, True)).camera.state == "paused"


def test_while_nothing_moves_pictures_come_seldom_and_changes_at_once() -> None:
    kiosk, begun = Kiosk(None), 100.0

    def show(number: int, taken_s: float, recognition: Recognition | None = KNOWN) -> int:
        shown = moment(recognition=recognition, number=number, taken_s=taken_s)
        kiosk.show(shown.frame, shown.view)
        assert kiosk.feed.newest is not None
        return kiosk.feed.newest.version

    assert show(0, begun) == 1
    assert [show(number, begun + number / 30) for number in range(1, 9)] == [1] * 8
    assert show(12, begun + 2 * STILL_S) == 2
    assert show(13, begun + 2 * STILL_S + 0.01, answer(Decision(None, False, 0.4, None))) == 3
    assert show(14, begun + 2 * STILL_S + 0.02, None) == 4
    kiosk.error("something")
    assert show(15, begun + 2 * STILL_S + 0.03, None) == 5
    newest = kiosk.feed.newest
    assert newest is not None and newest.happenings == (Happening(1, "error", "Something"),)


def test_orders_that_nobody_fetches_are_refused_in_the_end() -> None:
    from sightline.edge_app.controls import Command, Order

    kiosk = Kiosk(None)
    taken = [kiosk.ask(Order(Command.UNDO)) for _ in range(12)]
    assert taken == [True] * 8 + [False] * 4 and len(kiosk.orders(0)) == 8 and kiosk.orders(0) == []
