"""Where the page listens, and who is let in: addresses, host names, origins and the token."""

import asyncio
import socket
from typing import Any

import pytest
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse

from sightline.edge_app.kiosk.access import TOKEN_VARIABLE, Door, Guard, make_door
from sightline.edge_app.kiosk.address import Address, parse_address
from sightline.edge_app.listening import parse_listening
from sightline.runtime.errors import InputError

HOME, LAN = Address("127.0.0.1", 8080), Address("0.0.0.0", 8080)
TOKEN = "a-token-that-is-long-enough"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("9000", "127.0.0.1", 9000),
        (":9000", "127.0.0.1", 9000),
        ("0.0.0.0", "0.0.0.0", 8080),
        ("LocalHost:1", "localhost", 1),
        ("[::1]:90", "::1", 90),
        ("[::1]", "::1", 8080),
        ("::1", "::1", 8080),
    ],
)
def test_addresses_as_people_write_them(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)
    assert parse_listening(text, "--metrics") == (host, 9100 if port == 8080 and "8080" not in text else port)


@pytest.mark.parametrize(
    "text", ["", ":", "host:", "host:x", "host:70000", "http://host:80", "a b:80", "kiosk.bundle/"]
)
def test_what_is_no_address_is_a_sentence(text: str) -> None:
    with pytest.raises(InputError, match=r"--kiosk takes HOST:PORT, as 127\.0\.0\.1:8080"):
        parse_address(text)
    with pytest.raises(InputError, match=r"--metrics takes HOST:PORT, as 127\.0\.0\.1:9100"):
        parse_listening(text, "--metrics")


def test_only_this_machine_is_loopback() -> None:
    assert all(Address(host, 1).loopback for host in ("127.0.0.1", "127.3.2.1", "::1", "localhost"))
    assert not any(Address(host, 1).loopback for host in ("0.0.0.0", "::", "192.168.1.4", "kiosk.local"))


def test_a_port_that_is_taken_is_a_sentence_with_the_next_one() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} on 127.0.0.1 is taken.*--kiosk 127.0.0.1:"):
            Address("127.0.0.1", port).listen()


def test_a_host_of_another_machine_is_a_sentence() -> None:
    with pytest.raises(InputError, match="is no address of this machine"):
        Address("203.0.113.7", 0).listen()
    with pytest.raises(InputError, match="is no name or address"):
        Address("no-such-host.invalid", 0).listen()


def test_loopback_has_no_token_and_other_hosts_always_have_one() -> None:
    assert make_door(HOME, {TOKEN_VARIABLE: TOKEN}).token is None
    fresh, again = make_door(LAN, {}), make_door(LAN, {})
    assert fresh.token and len(fresh.token) >= 32 and fresh.fresh and fresh.token != again.token
    given = make_door(LAN, {TOKEN_VARIABLE: TOKEN})
    assert given.token == TOKEN and not given.fresh
    with pytest.raises(InputError, match="at least 16"):
        make_door(LAN, {TOKEN_VARIABLE: "short"})


def test_no_text_of_a_door_shows_its_token() -> None:
    door = Door(LAN, TOKEN)
    assert TOKEN not in f"{door!r} {door} {door.cookie} {door.cookie_name}"


@pytest.mark.parametrize(
    ("address", "host", "served"),
    [
        (HOME, "127.0.0.1:8080", True),
        (HOME, "localhost:9000", True),  # a forwarded port
        (HOME, "[::1]:8080", True),
        (HOME, "evil.example:8080", False),
        (HOME, "127.0.0.1.evil.example", False),
        (HOME, "192.168.1.5:8080", False),
        (HOME, "", False),
        (HOME, "localhost:x", False),
        (HOME, "user@localhost", False),
        (LAN, "192.168.1.5:8080", True),
        (LAN, f"{socket.gethostname()}:8080", True),
        (LAN, "evil.example:8080", False),
    ],
)
def test_host_names_that_the_page_is_served_under(address: Address, host: str, served: bool) -> None:
    assert Door(address, TOKEN).serves(host) is served


def knock(door: Door, method: str, path: str, **headers: str) -> tuple[int, dict[str, str]]:
    sent: list[dict[str, Any]] = []
    raw = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "query_string": b""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(PlainTextResponse("in"), door)(scope, receive, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


HOST = {"host": "127.0.0.1:8080"}
JSON = {"content_type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 200),
        ("GET", "/", {"sec_fetch_site": "cross-site"}, 200),  # a link from elsewhere
        ("GET", "/api/view", {"sec_fetch_site": "same-origin"}, 200),
        ("GET", "/api/view", {"sec_fetch_site": "cross-site"}, 403),
        ("GET", "/api/crops/1", {"sec_fetch_site": "same-site"}, 403),
        ("POST", "/api/undo", JSON, 200),  # no browser
        ("POST", "/api/undo", {**JSON, "origin": "http://127.0.0.1:8080", "sec_fetch_site": "same-origin"}, 200),
        ("POST", "/api/undo", {**JSON, "origin": "http://evil.example"}, 403),
        ("POST", "/api/undo", {**JSON, "origin": "http://127.0.0.1:9999"}, 403),
        ("POST", "/api/undo", {**JSON, "origin": "null"}, 403),
        ("GET", "/api/view", {"origin": "http://["}, 403),
        ("POST", "/api/undo", {**JSON, "sec_fetch_site": "none"}, 403),
        ("POST", "/api/undo", {**JSON, "sec_fetch_site": "same-site"}, 403),
        ("POST", "/api/undo", {"content_type": "text/plain"}, 415),
        ("POST", "/api/undo", {"content_type": "application/x-www-form-urlencoded"}, 415),
        ("DELETE", "/api/undo", {"origin": "http://evil.example"}, 403),
    ],
)
def test_requests_of_other_sites_are_refused(method: str, path: str, headers: dict[str, str], status: int) -> None:
    assert knock(Door(HOME), method, path, **HOST, **headers)[0] == status


def test_a_name_that_was_pointed_here_is_refused_everywhere() -> None:
    for path in ("/", "/assets/main.js", "/api/view"):
        assert knock(Door(HOME), "GET", path, host="evil.example:8080")[0] == 421
    assert knock(Door(HOME), "GET", "/")[0] == 421


def test_past_loopback_everything_but_the_page_itself_needs_the_token() -> None:
    door = Door(LAN, TOKEN)
    assert knock(door, "GET", "/", **HOST)[0] == knock(door, "GET", "/assets/main.js", **HOST)[0] == 200
    assert knock(door, "POST", "/api/login", **HOST, **JSON)[0] == 200
    for path in ("/api/view", "/api/crops/1", "/api/health", "/api/views/1", "/api/nothing"):
        assert knock(door, "GET", path, **HOST)[0] == 401
        assert knock(door, "GET", path, **HOST, authorization="Bearer wrong")[0] == 401
        assert knock(door, "GET", path, **HOST, cookie=f"{door.cookie_name}={TOKEN}")[0] == 401
        assert knock(door, "GET", path, **HOST, cookie=f"{door.cookie_name}={door.cookie}")[0] == 200
        assert knock(door, "GET", path, **HOST, authorization=f"Bearer {TOKEN}")[0] == 200


def test_odd_letters_in_a_token_are_just_wrong() -> None:
    door = Door(LAN, TOKEN)
    assert not door.opens("ü€") and not door.opens("")
    scope = {"type": "http", "headers": [(b"authorization", "Bearer ü".encode()), (b"cookie", b"sightline-8080=\xff")]}
    assert not door.knows(HTTPConnection(scope))


def test_every_answer_carries_the_policy_and_keeps_nothing() -> None:
    for path, headers in (("/", HOST), ("/api/view", {"host": "evil.example"})):
        got = knock(Door(HOME), "GET", path, **headers)[1]
        policy = got["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert "frame-ancestors 'none'" in policy and got["x-content-type-options"] == "nosniff"
        assert got["cache-control"] == "no-store" and got["referrer-policy"] == "no-referrer"
