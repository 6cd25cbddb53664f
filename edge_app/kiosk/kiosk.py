"""What the loop talks to: it leaves its moments here and fetches what people asked for."""

import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import cast

from sightline.runtime import Gallery, Recognizer
from sightline.runtime.reporter import Reporter

from ..connection import Frame
from ..controls import Order
from ..listeners import Deaf
from ..opening import Model
from ..overlay import View
from ..region import Region
from ..sources import Source
from ..teach import Removed, Taught, Teacher, TeachEvent
from .access import make_door
from .address import Address, parse_address
from .app import Facts, Site, make_app
from .feed import STILL_S, Feed, Happening, Moment
from .server import Server
from .shelf import Shelf
from .why import Explainer

# What nobody fetched yet; a person taps no faster, and a loop that hangs must not collect orders for later.
_MAX_WAITING = 8
_KEPT_HAPPENINGS = 8


class Kiosk(Deaf):
    """The loop's side of the page.

    Args:
        teacher: What is taught is shown from here; None without a gallery.
        url: Where a person finds it.
    """

    def __init__(self, teacher: Teacher | None, url: str = "") -> None:
        self.feed = Feed()
        self.url = url
        self._teacher = teacher
        self._orders: deque[Order] = deque()
        self._changes: deque[TeachEvent] = deque()
        self._asked = threading.Condition()
        self._happenings: deque[Happening] = deque(maxlen=_KEPT_HAPPENINGS)
        self._told = 0
        self._server: Server | None = None

    def start(self, server: Server) -> None:
        """Serve the page from now on."""
        self._server = server
        server.start()

    def close(self) -> None:
        """End the page; every browser that waits is let go."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def ask(self, order: Order) -> bool:
        """Leave an order for the loop, from any thread; False where too many wait already."""
        with self._asked:
            if len(self._orders) >= _MAX_WAITING:
                return False
            self._orders.append(order)
            self._asked.notify()
            return True

    def changed(self, event: TeachEvent) -> None:
        """Tell the loop what was removed, from any thread."""
        with self._asked:
            self._changes.append(event)

    def orders(self, wait_s: float) -> list[Order]:
        """Give what people asked for since the last call, waiting for it for at most `wait_s`."""
        with self._asked:
            if wait_s > 0 and not self._orders:
                self._asked.wait(wait_s)
            orders = list(self._orders)
            self._orders.clear()
            return orders

    def changes(self) -> list[TeachEvent]:
        """Give what the page itself removed from the gallery since the last call."""
        with self._asked:
            changes = list(self._changes)
            self._changes.clear()
            return changes

    def show(self, frame: Frame | None, view: View) -> None:
        """Take the newest frame and what is to be said of it."""
        teacher, before = self._teacher, self.feed.newest
        lesson = teacher.lesson if teacher is not None else None
        undoable = teacher is not None and teacher.undoable
        moment = Moment(frame, view, lesson, undoable, tuple(self._happenings), time.monotonic())
        self.feed.publish(_numbered(moment, before))

    def teaching(self, event: TeachEvent) -> None:
        """Tell the page what became of teaching or removing."""
        if isinstance(event, Taught):
            self._tell("taught", f"Learnt '{event.label}'", event.label, event.ids)
        elif isinstance(event, Removed):
            self._tell("removed", f"Removed '{event.label}'", event.label, event.ids)
        else:
            self.error(event.message)

    def error(self, message: str) -> None:
        """Tell the page that something failed."""
        self._tell("error", message[:1].upper() + message[1:])

    def _tell(self, kind: str, text: str, label: str = "", ids: tuple[int, ...] = ()) -> None:
        self._told += 1
        self._happenings.append(Happening(self._told, kind, text, label, ids))


def open_kiosk(
    where: str,
    source: Source,
    recognizer: Model,
    gallery: Gallery | None,
    teacher: Teacher | None,
    reporter: Reporter,
    preset: str | None = None,
    region: Region | None = None,
    environment: Mapping[str, str] | None = None,
) -> Kiosk:
    """Open the page's port, serve it, and say where it is.

    Args:
        where: HOST:PORT; see `parse_address`.
        source: What the loop watches.
        recognizer: What answers.
        gallery: What the page browses, or None.
        teacher: What learns, or None.
        reporter: Told the page's address, and its token where a new one was made.
        preset: The first name offered for a new item.
        region: The part of a frame that counts; None where an answer is not of a whole frame and is not explained.
        environment: Where a token may be given; None takes the process's own.

    Raises:
        InputError: The address is none, the port is taken, or the token is too short.
    """
    asked = parse_address(where)
    door = make_door(asked, os.environ if environment is None else environment)
    listening = asked.listen()
    address = Address(asked.host, listening.getsockname()[1])
    door = replace(door, address=address)
    kiosk = Kiosk(teacher, address.url)
    facts = _facts(source, gallery, teacher, preset)
    explainer = Explainer(cast(Recognizer, recognizer), gallery, region) if region is not None else None
    site = Site(kiosk.feed, kiosk, Shelf(gallery), explainer, door, facts, partial(_engine, recognizer))
    kiosk.start(Server(make_app(site, reporter.warn), listening, kiosk.feed))
    reporter.say(f"kiosk page: {kiosk.url}")
    if door.fresh:
        reporter.say(f"its token, shown this once: {door.token} (or open {kiosk.url}#token={door.token})")
    return kiosk


def _engine(recognizer: Model) -> list[tuple[str, str]]:
    threads = f"{recognizer.threads} thread{'s' if recognizer.threads != 1 else ''}"
    return [
        ("Model", f"{recognizer.bundle.manifest.arch}, {recognizer.variant.name}"),
        ("Runs on", f"{recognizer.provider.obtained}, {threads}"),
    ]


def _facts(source: Source, gallery: Gallery | None, teacher: Teacher | None, preset: str | None) -> Facts:
    return Facts(
        source=source.name,
        live=source.live,
        gallery=str(gallery.path) if gallery is not None else None,
        can_teach=teacher is not None,
        names=(preset,) if preset else (),
    )


def _numbered(moment: Moment, before: Moment | None) -> Moment:
    """Give it a version of its own where a browser would look different, else the one before's."""
    if before is None:
        return replace(moment, version=1)
    if not _differs(moment, before):
        return replace(moment, version=before.version, frame=before.frame if _still(moment, before) else moment.frame)
    return replace(moment, version=before.version + 1)


def _differs(moment: Moment, before: Moment) -> bool:
    new, old = moment.view, before.view
    said = (new.status.state, new.status.detail, new.paused, new.slowed)
    if said != (old.status.state, old.status.detail, old.paused, old.slowed):
        return True
    if moment.undoable != before.undoable or _last(moment) != _last(before) or _lesson(moment) != _lesson(before):
        return True
    if new.recognition is not old.recognition:
        return True
    return moment.frame is not before.frame and not _still(moment, before)


def _still(moment: Moment, before: Moment) -> bool:
    """Whether it shows what was just shown: nothing moved, and the picture is young enough."""
    if moment.frame is None or before.frame is None or moment.lesson is not None:
        return False
    return moment.view.recognition is before.view.recognition and moment.frame.taken_s - before.frame.taken_s < STILL_S


def _last(moment: Moment) -> int:
    return moment.happenings[-1].number if moment.happenings else 0


def _lesson(moment: Moment) -> tuple[object, ...] | None:
    lesson = moment.lesson
    if lesson is None:
        return None
    return lesson.label, lesson.writing, tuple(view.number for view in lesson.views)
