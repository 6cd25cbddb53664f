"""HOST:PORT as people write it, for whatever listens."""

import ipaddress

from sightline.runtime.errors import InputError

LOOPBACK = "127.0.0.1"
# Where an option names no port.
PORTS = {"--kiosk": 8080, "--metrics": 9100}


def parse_listening(text: str, option: str) -> tuple[str, int]:
    """Read HOST:PORT, HOST, :PORT or PORT; [::1]:8080 for IPv6.

    Args:
        text: As the user gave it.
        option: The option it came from, one of `PORTS`.

    Returns:
        The host, a name in lower case or an IP address without brackets, loopback where none is named; and the port.

    Raises:
        InputError: It is none of these.
    """
    port = PORTS[option]
    host, said = _split(text.strip(), str(port))
    if not (said.isascii() and said.isdecimal()) or int(said) > 65535 or not host or set(host) & set("/@?# []"):
        raise InputError(f"{option} takes HOST:PORT, as {LOOPBACK}:{port} or 0.0.0.0:{port}, not '{text}'")
    return host.lower(), int(said)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    address = ip_of(host)
    return address.is_loopback if address is not None else host == "localhost"


def ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host is, or None where it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _split(text: str, port: str) -> tuple[str, str]:
    if text.isdecimal():
        return LOOPBACK, text
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":") or port
    if text.count(":") > 1:
        return text, port
    host, colon, named = text.partition(":")
    return host or (LOOPBACK if colon else ""), named if colon else port
