"""A moment of the loop in the page's words: plain values that become JSON."""

import time

import msgspec

from sightline.runtime.recognition import Match, Recognition

from ..reader import State, Status
from .feed import Happening, Moment

# A loop that shows nothing for this long hangs, or runs a model too slow to be called live.
SILENT_S = 5.0
_HEADLINES = {
    State.CONNECTING: "Connecting to the camera",
    State.LIVE: "Live",
    State.STALLED: "The picture stands still",
    State.LOST: "The camera is lost",
    State.ENDED: "The video has ended",
}
_REMEDIES = {
    State.CONNECTING: "This takes a few seconds.",
    State.STALLED: "The camera sends nothing new. It is opened again if that lasts.",
    State.LOST: "It is opened again as soon as it is back. Check its cable and its power.",
    State.ENDED: "",
    State.LIVE: "",
}
_HOT = "Live, slower: the device is hot"
# An attempt failed and none has succeeded: to go on saying that it takes a few seconds would be no help.
_ABSENT = ("No camera yet", "It is opened as soon as it is there. Check its cable, its power and its address.")


class Camera(msgspec.Struct, frozen=True):
    """The source: its state, that in words, and how old the picture is."""

    state: str
    headline: str
    remedy: str
    detail: str
    live: bool
    age_ms: float | None
    fps: float | None


class Answer(msgspec.Struct, frozen=True):
    """What is in view; `label` is None when unknown, `how` says how sure that is and who says it."""

    label: str | None
    known: bool
    confidence: float
    by: str | None
    how: str


class Card(msgspec.Struct, frozen=True):
    """A gallery entry near what is in view."""

    id: int
    label: str
    similarity: float
    metadata: dict[str, str]


class Teaching(msgspec.Struct, frozen=True):
    """What is being taught: `views` names the chosen frames, `writing` says that they go to the disk."""

    label: str
    views: tuple[int, ...]
    wanted: int
    writing: bool


class Told(msgspec.Struct, frozen=True):
    """Something to tell once; see `Happening`."""

    number: int
    kind: str
    text: str
    label: str
    ids: tuple[int, ...]


class Picture(msgspec.Struct, frozen=True):
    """A frame: its number, its size in pixels, and the part the model sees, in fractions left, top, right, bottom."""

    number: int
    width: int
    height: int
    seen: tuple[float, float, float, float] | None


class PageState(msgspec.Struct, frozen=True):
    """All that the page shows, but for the picture itself.

    Attributes:
        boot: Names this process: another one starts its numbers anew.
        assets: Names the page's own files: another one means that the page must be loaded again.
        version: Changes when there is something new.
        camera: The source.
        picture: The frame, or None before the first.
        answer: What is in view; None where there is nothing to answer.
        matches: Its nearest entries.
        teaching: What is being taught, or None.
        told: The last happenings.
        can_teach: Whether there is a gallery that can be taught.
        can_explain: Whether the answer can be asked why.
        can_undo: Whether something taught can be taken back.
    """

    boot: str
    assets: str
    version: int
    camera: Camera
    picture: Picture | None
    answer: Answer | None
    matches: tuple[Card, ...]
    teaching: Teaching | None
    told: tuple[Told, ...]
    can_teach: bool
    can_explain: bool
    can_undo: bool


class Abilities(msgspec.Struct, frozen=True):
    """What the run can do: `teach` its gallery, `explain` its answers."""

    teach: bool
    explain: bool


def describe(moment: Moment | None, boot: str, assets: str, live: bool, can: Abilities) -> PageState:
    """Put a moment into words.

    Args:
        moment: The newest one, or None before the first.
        boot: Names this process.
        assets: Names the page's files.
        live: Whether the source is a camera; a file's frames have no age.
        can: What the run can do.
    """
    if moment is None:
        camera = Camera("connecting", "Starting", "This takes a few seconds.", "", live, None, None)
        return PageState(boot, assets, 0, camera, None, None, (), None, (), can.teach, False, False)
    silent = time.monotonic() - moment.at_s > SILENT_S
    recognition = None if silent else moment.view.recognition
    return PageState(
        boot=boot,
        assets=assets,
        version=moment.version,
        camera=_camera(moment, live, silent),
        picture=_picture(moment),
        answer=_answer(recognition) if recognition is not None and moment.view.objects != () else None,
        matches=tuple(map(_card, recognition.matches)) if recognition is not None else (),
        teaching=_teaching(moment),
        told=tuple(map(_told, moment.happenings)),
        can_teach=can.teach,
        can_explain=can.explain and recognition is not None,
        can_undo=moment.undoable,
    )


def _camera(moment: Moment, live: bool, silent: bool) -> Camera:
    status, frame = moment.view.status, moment.frame
    age_ms = (time.monotonic() - frame.taken_s) * 1e3 if live and frame is not None else None
    if silent:
        remedy = "It is busy or hangs; if this lasts, start it again."
        return Camera("stalled", "The program does not answer", remedy, "", live, age_ms, None)
    state, headline, remedy = _state(status, moment.view.paused)
    if status.state is State.LIVE and moment.view.slowed:
        headline = _HOT
    return Camera(state, headline, remedy, status.detail or moment.view.slowed, live, age_ms, moment.view.fps)


def _state(status: Status, paused: bool) -> tuple[str, str, str]:
    if paused:
        return "paused", "Paused", ""
    if status.state is State.CONNECTING and status.detail:
        return str(status.state), *_ABSENT
    return str(status.state), _HEADLINES[status.state], _REMEDIES[status.state]


def _picture(moment: Moment) -> Picture | None:
    if moment.frame is None:
        return None
    rows, columns = moment.frame.image_bgr.shape[:2]
    box = moment.view.seen
    if box is None:
        return Picture(moment.frame.number, columns, rows, None)
    seen = (box.left / columns, box.top / rows, box.right / columns, box.bottom / rows)
    return Picture(moment.frame.number, columns, rows, seen)


def _answer(recognition: Recognition) -> Answer:
    decision = recognition.decision
    if decision.decided_by == "gallery":
        how = f"{decision.confidence:.0%} similar, from the gallery"
    elif decision.known:
        how = f"{decision.confidence:.0%} sure"
    elif recognition.matches:
        how = f"nearest: {recognition.matches[0].label}, {max(0.0, recognition.matches[0].similarity):.0%} similar"
    elif recognition.top:
        how = f"best guess: {recognition.top[0].label}, {recognition.top[0].probability:.0%}"
    else:
        how = ""
    return Answer(decision.label, decision.known, round(decision.confidence, 4), decision.decided_by, how)


def _card(match: Match) -> Card:
    return Card(match.id, match.label, round(match.similarity, 4), match.metadata)


def _teaching(moment: Moment) -> Teaching | None:
    lesson = moment.lesson
    if lesson is None:
        return None
    return Teaching(lesson.label, tuple(view.number for view in lesson.views), lesson.wanted, lesson.writing)


def _told(happening: Happening) -> Told:
    return Told(happening.number, happening.kind, happening.text, happening.label, happening.ids)
