"""Who may ask for what: host names, other origins, the token, and the headers of every answer.

The page can teach, remove and show a camera, so a browser that happens to run on this machine must not become
a way in for other sites: requests under a foreign host name (DNS rebinding), from a foreign origin (a form or a
script elsewhere) and, past loopback, without the token are refused before a route is looked at.
"""

import hashlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sightline.runtime.errors import InputError

from .address import Address

TOKEN_VARIABLE = "SIGHTLINE_KIOSK_TOKEN"
# What systemd hands a service, see `service.unit`: neither its environment nor its log holds the token.
TOKEN_CREDENTIAL = "kiosk-token"
MIN_TOKEN = 16
COOKIE_DAYS = 30
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_READING = frozenset({"GET", "HEAD"})
_OPEN_PATHS = frozenset({"/api/login"})

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Door:
    """What is asked of a visitor.

    Attributes:
        address: Where the page is served, with its real port.
        token: The secret of pages that other machines can reach; None on loopback. Never shown by `repr`.
        fresh: Whether the token was made for this run, so that the user has to be told.
    """

    address: Address
    token: str | None = field(default=None, repr=False)
    fresh: bool = False

    @property
    def cookie_name(self) -> str:
        """Cookies know no ports: two kiosks of one machine need two names."""
        return f"sightline-{self.address.port}"

    @property
    def cookie(self) -> str:
        """What a signed-in browser holds: it proves the token without being it, and outlives a restart."""
        return hmac.new((self.token or "").encode(), b"sightline kiosk", hashlib.sha256).hexdigest()

    def opens(self, token: str) -> bool:
        """Whether this is the token, compared in constant time."""
        return self.token is None or hmac.compare_digest(token.encode(), self.token.encode())

    def knows(self, connection: HTTPConnection) -> bool:
        """Whether a request comes from somebody who signed in, by cookie or by `Authorization: Bearer`."""
        if self.token is None:
            return True
        cookie = connection.cookies.get(self.cookie_name, "")
        if hmac.compare_digest(cookie.encode(), self.cookie.encode()):
            return True
        kind, _, token = connection.headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self.opens(token.strip())

    def serves(self, host: str) -> bool:
        """Whether the page is to be had under this host name.

        A site that lets its own name point to this machine is what the check is for; such a name is neither
        this machine's nor an address.
        """
        name = _host_name(host)
        if name is None:
            return False
        if self.address.loopback:
            return name in _LOCAL_NAMES or name == self.address.host
        own = socket.gethostname().lower()
        return _is_ip(name) or name in _LOCAL_NAMES | {self.address.host, own, own.split(".")[0], f"{own}.local"}


class Guard:
    """The application behind its door; an ASGI middleware.

    Args:
        app: The application.
        door: What is asked of a visitor.
    """

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse or pass on one request."""
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if not self._door.serves(host):
            return _refuse(421, "this page is not served under that host name")
        reading = scope["method"] in _READING
        if _from_elsewhere(headers, host, reading) and not (reading and path == "/"):
            return _refuse(403, "requests from other sites are refused")
        if not reading and headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _refuse(415, "expected application/json")
        needs = path.startswith("/api/") and path not in _OPEN_PATHS
        if needs and not self._door.knows(HTTPConnection(scope)):
            return _refuse(401, "sign in with the token that was printed when the kiosk started")
        return None


def make_door(address: Address, environment: Mapping[str, str]) -> Door:
    """Settle the token: none on loopback, else the one of the environment or the service's, else a new one.

    Raises:
        InputError: The environment's token is too short to be a secret.
    """
    if address.loopback:
        return Door(address)
    given = environment.get(TOKEN_VARIABLE, "").strip() or _credential(environment)
    if given and len(given) < MIN_TOKEN:
        raise InputError(f"{TOKEN_VARIABLE} has {len(given)} letters: a token needs at least {MIN_TOKEN}")
    return Door(address, given or secrets.token_urlsafe(24), fresh=not given)


def _credential(environment: Mapping[str, str]) -> str:
    folder = environment.get("CREDENTIALS_DIRECTORY")
    file = Path(folder) / TOKEN_CREDENTIAL if folder else None
    return file.read_text(encoding="ascii").strip() if file is not None and file.is_file() else ""


def _from_elsewhere(headers: Headers, host: str, reading: bool) -> bool:
    """Whether a browser sent this for another site's page; programs that are no browser say neither."""
    site = headers.get("sec-fetch-site", "")
    if site and site != "same-origin" and not (reading and site == "none"):
        return True
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != host.lower()
    except ValueError:
        return True


def _refuse(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status)


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return send_with_headers


def _host_name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname if parts.hostname and not (parts.username or parts.path) else None


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
