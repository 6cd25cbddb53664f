"""Events by HTTP POST, one JSON object each, with the standard library."""

import base64
import http.client
import ssl
from collections.abc import Sequence
from contextlib import suppress

from sightline.runtime.errors import InputError

from .address import Address, parse_address
from .event import Event
from .outbox import DeliveryFailed, DeliveryRefused

TIMEOUT_S = 5.0
# The receiver says that this very event is wrong: trying again would hold up those behind it.
_FOR_GOOD = frozenset({400, 405, 406, 409, 410, 411, 413, 414, 415, 422})
_MAX_ANSWER_BYTES = 65_536
_EXAMPLE = "https://user:password@host/path"


class Webhook:
    """Posts events to an address; a `Delivery`.

    An event carries its id as `Idempotency-Key`: one whose answer was lost is sent again. Redirects are not
    followed, so that credentials go where the user sent them, and no proxy is asked.

    Args:
        url: http:// or https://, with user and password where the receiver wants Basic authentication.

    Raises:
        InputError: It is no such address.
    """

    def __init__(self, url: str) -> None:
        self._address = parse_address(url, "--webhook", ("http", "https"), _EXAMPLE)
        if not self._address.path.isascii() or any(letter.isspace() for letter in self._address.path):
            raise InputError(
                f"--webhook has letters in its path that an address cannot hold: write them as %20, {_EXAMPLE}"
            )
        self.name = f"webhook {self._address.name}"
        self._headers = _headers(self._address)
        self._connection: http.client.HTTPConnection | None = None

    def deliver(self, items: Sequence[Event]) -> None:
        """Post events, one request each.

        Raises:
            DeliveryFailed: Nobody answers, or the answer is an error that may pass.
            DeliveryRefused: The answer is an error that will not.
        """
        for event in items:
            self._post(event)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
            self._connection = None

    def _post(self, event: Event) -> None:
        kept = self._connection is not None
        try:
            status = self._ask(event)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if kept and isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
                # A server closes a connection that idled: that is no failure of the event.
                return self._post(event)
            raise DeliveryFailed(_reason(error)) from error
        if 200 <= status < 300:
            return None
        self.close()
        if status in _FOR_GOOD:
            raise DeliveryRefused(f"refuses an event ({status}): it is dropped")
        raise DeliveryFailed(f"answers {status} {http.client.responses.get(status, '')}".rstrip())

    def _ask(self, event: Event) -> int:
        connection = self._connection = self._connection or self._connect()
        connection.request(
            "POST", self._address.path or "/", event.encode(), {**self._headers, "Idempotency-Key": event.id}
        )
        answer = connection.getresponse()
        if len(answer.read(_MAX_ANSWER_BYTES)) == _MAX_ANSWER_BYTES:
            self.close()
        return answer.status

    def _connect(self) -> http.client.HTTPConnection:
        address = self._address
        if address.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(address.host, address.port, timeout=TIMEOUT_S, context=context)
        return http.client.HTTPConnection(address.host, address.port, timeout=TIMEOUT_S)


def _headers(address: Address) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "User-Agent": "sightline"}
    if address.user is not None:
        words = f"{address.user}:{address.password or ''}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(words).decode()}"
    return headers


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer for {TIMEOUT_S:.0f} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be trusted ({error.verify_message})"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be reached ({error.strerror.lower()})"
    return "its answer breaks off"
