"""Addresses of servers, taken apart so that no credential of theirs reaches a message."""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from sightline.runtime.errors import InputError


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where a server is, and who we are to it.

    Attributes:
        scheme: "http", "mqtts" ...
        host: Its name or number.
        port: Its port, or None for the scheme's own.
        path: What follows the host, query included, beginning with "/" or empty.
        user: User name, or None.
        password: Password, or None.
    """

    scheme: str
    host: str
    port: int | None
    path: str
    user: str | None
    password: str | None

    @property
    def name(self) -> str:
        """What logs may show: paths of webhooks are secrets themselves."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{f':{self.port}' if self.port is not None else ''}"

    def __repr__(self) -> str:
        return self.name


def parse_address(text: str, option: str, schemes: tuple[str, ...], example: str) -> Address:
    """Read an address.

    Args:
        text: As the user gave it.
        option: The option it came from, for messages.
        schemes: The kinds it may be of.
        example: Shown when it is wrong.

    Raises:
        InputError: It is no such address; the message does not repeat it.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise InputError(f"{option} is no address: expected one as {example}") from error
    if parts.scheme not in schemes or not parts.hostname or "#" in text:
        raise InputError(f"{option} is no {' or '.join(schemes)} address: expected one as {example}")
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    user = unquote(parts.username) if parts.username is not None else None
    password = unquote(parts.password) if parts.password is not None else None
    return Address(parts.scheme, parts.hostname, port, path, user, password)
