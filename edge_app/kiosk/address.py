"""Where the page is served, and the listening socket."""

import errno
import socket
from dataclasses import dataclass

from sightline.runtime.errors import InputError

from ..listening import ip_of, is_loopback, parse_listening

_BACKLOG = 64


@dataclass(frozen=True, slots=True)
class Address:
    """A place to listen.

    Attributes:
        host: A name or an IP address, without brackets.
        port: 0 takes a free one.
    """

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        """What a person opens; the machine's own name where it listens on every network."""
        address = ip_of(self.host)
        everywhere = address is not None and address.is_unspecified
        return f"http://{socket.gethostname() if everywhere else written(self.host)}:{self.port}/"

    def listen(self) -> socket.socket:
        """Open the socket.

        Raises:
            InputError: The port is taken or not allowed, or the host is none of this machine's.
        """
        try:
            family, _, _, _, place = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
        except (OSError, UnicodeError) as error:
            raise InputError(f"--kiosk: '{self.host}' is no name or address of this machine") from error
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            # A restart must not wait for the last run's connections to be forgotten.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen(_BACKLOG)
        except OSError as error:
            listening.close()
            raise InputError(self._refused(error)) from error
        return listening

    def _refused(self, error: OSError) -> str:
        if isinstance(error, PermissionError):
            return f"--kiosk: port {self.port} is reserved for the system: choose one above 1023, as {self.port + 8000}"
        if error.errno == errno.EADDRNOTAVAIL:
            return f"--kiosk: '{self.host}' is no address of this machine: use 127.0.0.1, or 0.0.0.0 for all"
        return (
            f"--kiosk: port {self.port} on {self.host} is taken: end what runs there, "
            f"or choose another as --kiosk {written(self.host)}:{self.port + 1 if self.port < 65535 else 8080}"
        )


def parse_address(text: str) -> Address:
    """Read HOST:PORT, HOST, :PORT or PORT; [::1]:8080 for IPv6.

    Raises:
        InputError: It is none of these.
    """
    return Address(*parse_listening(text, "--kiosk"))


def written(host: str) -> str:
    """A host as it stands in an address: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host
