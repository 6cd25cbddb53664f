"""The web application: the page's files, the newest view, and what a person may ask for.

GET  /  /assets/NAME          the page
GET  /api/view                JSON of the newest moment and its picture, as soon as there is something new
GET  /api/health              figures for the health panel
GET  /api/names  /api/items  /api/entries  /api/crops/ID  /api/views/NUMBER
POST /api/teach  /api/cancel  /api/undo  /api/remove  /api/login
POST /api/why, then GET /api/why/NUMBER: what the answer rests on, and the map of it

The page asks for each view when it has drawn the last one: what it misses is never queued, so that a slow
browser sees fewer pictures and never old ones.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import anyio.to_thread
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sightline.runtime.errors import SightlineError

from ..controls import Command, Order
from ..teach import TeachEvent
from .access import COOKIE_DAYS, Door, Guard
from .feed import Feed, Moment
from .files import Files
from .pictures import WIDTHS, Pictures, encode
from .shelf import Shelf
from .why import Busy, Explainer
from .words import Abilities, describe

# The page hears from the server at least this often, so that it notices its end.
HEARTBEAT_S = 1.0
MAX_BODY_BYTES = 65_536
MAX_NAME_LETTERS = 80
_VIEW_WIDTH = 240
_Kind = TypeVar("_Kind")
_Result = TypeVar("_Result")
Handler = Callable[[Request], Awaitable[Response]]


class Asker(Protocol):
    """Who passes on to the loop what people ask for."""

    def ask(self, order: Order) -> bool:
        """Leave an order; False where too many wait already."""

    def changed(self, event: TeachEvent) -> None:
        """Tell what was removed."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not change during a run.

    Attributes:
        source: The source's name, without credentials.
        live: Whether it is a camera.
        gallery: The gallery's path, or None.
        can_teach: Whether it can be taught.
        names: Names to offer first for a new item.
    """

    source: str
    live: bool
    gallery: str | None
    can_teach: bool
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """What the application is made of; `engine` gives rows on what answers, which a reload changes.

    Without an `explainer` there is nothing that could be asked why.
    """

    feed: Feed
    asker: Asker
    shelf: Shelf
    explainer: Explainer | None
    door: Door
    facts: Facts
    engine: Callable[[], list[tuple[str, str]]]


class NameAsked(msgspec.Struct, forbid_unknown_fields=True):
    """Body of /api/teach."""

    label: str


class RemovalAsked(msgspec.Struct, forbid_unknown_fields=True):
    """Body of /api/remove: entries by id, or all of an item."""

    ids: list[int] = []
    label: str = ""


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """Body of /api/login."""

    token: str


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """An empty body, {}."""


def make_app(site: Site, complain: Callable[[str], None]) -> ASGIApp:
    """Build the application behind its door.

    Args:
        site: What it is made of.
        complain: Told in a sentence when a request fails for a reason of ours.
    """
    pages = _Pages(site)
    routes = [
        Route("/", pages.file),
        Route("/assets/{name}", pages.file),
        Route("/api/view", pages.view),
        Route("/api/health", pages.health),
        Route("/api/names", pages.names),
        Route("/api/items", pages.items),
        Route("/api/entries", pages.entries),
        Route("/api/crops/{id}", pages.crop),
        Route("/api/views/{number}", pages.chosen),
        Route("/api/why/{number}", pages.map),
        Route("/api/why", pages.why, methods=["POST"]),
        Route("/api/teach", pages.teach, methods=["POST"]),
        Route("/api/cancel", pages.cancel, methods=["POST"]),
        Route("/api/undo", pages.undo, methods=["POST"]),
        Route("/api/remove", pages.remove, methods=["POST"]),
        Route("/api/login", pages.login, methods=["POST"]),
    ]

    async def failed(request: Request, error: Exception) -> Response:
        complain(f"kiosk page: {request.method} {request.url.path} failed: {type(error).__name__}: {error}")
        return _json({"error": "the program failed at this request"}, 500)

    app = Starlette(routes=routes, exception_handlers={HTTPException: _refused, SightlineError: _unable})
    app.add_exception_handler(Exception, failed)
    return Guard(app, site.door)


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._files = Files()
        self._pictures = Pictures()
        self._boot = secrets.token_hex(4)
        self._started_s = time.monotonic()

    async def file(self, request: Request) -> Response:
        return self._files.answer(request.path_params.get("name", "index.html"), request.headers.get("if-none-match"))

    async def view(self, request: Request) -> Response:
        """The newest state, and after it the picture where the browser has not got it."""
        asked = request.query_params
        same = asked.get("boot") == self._boot
        after = _number(asked.get("after"), -1) if same else -1
        moment = await self._site.feed.wait(after, HEARTBEAT_S)
        facts = self._site.facts
        can = Abilities(facts.can_teach, self._site.explainer is not None)
        state = describe(moment, self._boot, self._files.version, facts.live, can)
        head = msgspec.json.encode(state)
        has = _number(asked.get("picture"), -1) if same else -1
        jpeg = await self._picture(moment, has, _number(asked.get("width"), WIDTHS[-1]))
        return Response(head + jpeg, headers={"X-State-Bytes": str(len(head))}, media_type="application/octet-stream")

    async def _picture(self, moment: Moment | None, has: int, width: int) -> bytes:
        if moment is None or moment.frame is None or moment.frame.number == has:
            return b""
        return await _aside(partial(self._pictures.jpeg, moment.frame, moment.view, width))

    async def health(self, request: Request) -> Response:
        rows = await _aside(partial(self._site.shelf.facts))
        facts, moment = self._site.facts, self._site.feed.newest
        figures = [("Source", facts.source)]
        if moment is not None:
            status, latency = moment.view.status, moment.view.recognition
            figures += [
                ("Opened", f"{status.attempts} time{'s' if status.attempts != 1 else ''}"),
                ("Frames passed over", f"{status.dropped}"),
                ("Frames damaged", f"{status.damaged}"),
            ]
            if latency is not None:
                figures += [("Time of an answer", f"{latency.latency.total_ms:.1f} ms")]
        figures += [*self._site.engine(), *rows]
        figures += [("Running for", _duration(time.monotonic() - self._started_s))]
        return _json(figures)

    async def names(self, request: Request) -> Response:
        return _json(await _aside(partial(self._site.shelf.names, self._site.facts.names)))

    async def items(self, request: Request) -> Response:
        asked = request.query_params
        start = _number(asked.get("start"), 0)
        return _json(await _aside(partial(self._site.shelf.items, asked.get("query", ""), start)))

    async def entries(self, request: Request) -> Response:
        asked = request.query_params
        start = _number(asked.get("start"), 0)
        return _json(await _aside(partial(self._site.shelf.pieces, asked.get("label", ""), start)))

    async def crop(self, request: Request) -> Response:
        jpeg = await _aside(partial(self._site.shelf.crop, _named(request, "id")))
        return Response(jpeg, media_type="image/jpeg") if jpeg else self._files.answer("none.svg", None)

    async def chosen(self, request: Request) -> Response:
        """A view chosen for the item that is being taught; there are none past that."""
        moment = self._site.feed.newest
        views = moment.lesson.views if moment is not None and moment.lesson is not None else ()
        number = _named(request, "number")
        found = next((view for view in views if view.number == number), None)
        if found is None:
            return self._files.answer("none.svg", None)
        return Response(await _aside(partial(encode, found.crop_bgr, _VIEW_WIDTH)), media_type="image/jpeg")

    async def why(self, request: Request) -> Response:
        await _body(request, Nothing)
        try:
            return _json(await _aside(partial(self._explainer().explain, self._site.feed.newest)))
        except Busy as error:
            raise HTTPException(503, "another picture is being explained: try again") from error

    async def map(self, request: Request) -> Response:
        jpeg = self._explainer().picture(_named(request, "number"))
        return Response(jpeg, media_type="image/jpeg") if jpeg else self._files.answer("none.svg", None)

    async def teach(self, request: Request) -> Response:
        label = " ".join((await _body(request, NameAsked)).label.split())
        if not label or not label.isprintable() or len(label) > MAX_NAME_LETTERS:
            raise HTTPException(422, f"a name has 1 to {MAX_NAME_LETTERS} letters")
        if not self._site.facts.can_teach:
            raise HTTPException(409, "teaching needs a gallery: start with --gallery FOLDER")
        return self._ask(Order(Command.TEACH, label))

    async def cancel(self, request: Request) -> Response:
        await _body(request, Nothing)
        return self._ask(Order(Command.CANCEL))

    async def undo(self, request: Request) -> Response:
        await _body(request, Nothing)
        return self._ask(Order(Command.UNDO))

    async def remove(self, request: Request) -> Response:
        asked = await _body(request, RemovalAsked)
        if not self._site.facts.can_teach:
            raise HTTPException(409, "this run does not change its gallery")
        removed = await _aside(partial(self._site.shelf.remove, asked.ids, asked.label))
        self._site.asker.changed(removed)
        return _json({"label": removed.label, "ids": removed.ids})

    async def login(self, request: Request) -> Response:
        asked = await _body(request, SignIn)
        door = self._site.door
        if not door.opens(asked.token.strip()):
            raise HTTPException(403, "this is not the token")
        response = _json({})
        age_s = COOKIE_DAYS * 86_400
        response.set_cookie(door.cookie_name, door.cookie, max_age=age_s, httponly=True, samesite="strict")
        return response

    def _explainer(self) -> Explainer:
        if self._site.explainer is None:
            raise HTTPException(409, "what is found here cannot be explained")
        return self._site.explainer

    def _ask(self, order: Order) -> Response:
        if not self._site.asker.ask(order):
            raise HTTPException(503, "the program does not answer at the moment: try again")
        return _json({}, 202)


async def _aside(function: Callable[[], _Result]) -> _Result:
    """Run what takes disk or processor time on a thread, so that other visitors are served meanwhile."""
    return await anyio.to_thread.run_sync(function)


async def _body(request: Request, kind: type[_Kind]) -> _Kind:
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise HTTPException(413, "this request is too large")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HTTPException(422, f"this request cannot be read: {error}") from error


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _json({"error": error.detail}, error.status_code)


async def _unable(request: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 409)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdecimal() and len(text) < 16 else default


def _named(request: Request, name: str) -> int:
    number = _number(request.path_params[name], -1)
    if number < 0:
        raise HTTPException(404, "there is no such picture")
    return number


def _duration(seconds: float) -> str:
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours >= 48:
        return f"{hours // 24} days"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"
