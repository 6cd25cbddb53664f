"""Cameras over HTTP: endless MJPEG answers and single pictures that are fetched again and again.

OpenCV's own MJPEG reading was left because it prints addresses with passwords, follows a stall for as long as
its backend likes and cuts frames at the first end marker, which may be that of an EXIF thumbnail. Here every
wait has a limit, a part is taken by its length or up to the next boundary, and what cannot be decoded is
skipped. Proxies are not asked: a camera is a neighbour.
"""

import email.message
import http.client
import os
import socket
import time
import urllib.error
import urllib.request
from contextlib import suppress
from typing import IO, Any, Final
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from sightline.runtime.errors import InputError, SourceError
from sightline.runtime.preprocess import Image, decode_image

from .captures import Capture, DamagedFrame, SourceRefused, open_stream

TIMEOUT_S: Final = 5.0
MAX_PART_BYTES: Final = 8_000_000
MAX_PICTURE_BYTES: Final = 32_000_000
POLL_INTERVAL_S: Final = 0.2
_READ_BYTES: Final = 1 << 20
_FAILURES = (OSError, http.client.HTTPException, ValueError)


class MjpegCapture:
    """An endless multipart answer, each part a picture.

    Args:
        response: The answer, its headers read, its socket with a timeout.
        boundary: The text between parts, as the Content-Type names it.
        name: What messages call the source.
    """

    fps: float | None = None

    def __init__(self, response: http.client.HTTPResponse, boundary: str, name: str) -> None:
        self._response, self._name = response, name
        self._parts = PartSplitter(boundary)

    def read(self) -> Image:
        """Decode the newest complete part that has arrived.

        Raises:
            DamagedFrame: The part is no picture.
            SourceError: The connection ended or nothing came for `TIMEOUT_S`.
        """
        newest = self._newest()
        try:
            return decode_image(newest, self._name)
        except InputError as error:
            raise DamagedFrame(f"source '{self._name}' sent a picture that cannot be decoded") from error

    def skip(self) -> None:
        """Pass over what has arrived, without decoding it.

        Raises:
            SourceError: As `read`.
        """
        self._newest()

    def interrupt(self) -> None:
        """End a wait for the network at once."""
        with suppress(OSError, ValueError), socket.socket(fileno=os.dup(self._response.fileno())) as twin:
            twin.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()

    def _newest(self) -> bytes:
        parts: list[bytes] = []
        while not parts:
            parts = self._parts.feed(self._receive())
        # When decoding is slower than the camera, parts queue up in the socket: only the newest is decoded.
        return parts[-1]

    def _receive(self) -> bytes:
        try:
            data = self._response.read1(_READ_BYTES)
        except _FAILURES as error:
            raise SourceError(f"source '{self._name}' was lost: {_reason(error)}") from error
        if not data:
            raise SourceError(f"source '{self._name}' was lost: it closed the connection")
        return data


class PartSplitter:
    """Cuts a multipart stream into the bodies of its parts, whatever lies between them."""

    def __init__(self, boundary: str) -> None:
        # Servers disagree whether the two dashes belong to the name: searching for one pair finds both.
        self._mark = b"--" + boundary.strip('"').lstrip("-").encode("latin-1", "replace")
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take in what arrived and give the parts that are now complete, oldest first.

        Raises:
            SourceError: More than `MAX_PART_BYTES` came without a boundary.
        """
        self._buffer += data
        parts: list[bytes] = []
        while (part := self._next()) is not None:
            parts.append(part)
        if len(self._buffer) > MAX_PART_BYTES:
            raise SourceError(f"an HTTP camera sent {MAX_PART_BYTES} bytes without the end of a picture")
        return [part for part in parts if part]

    def _next(self) -> bytes | None:
        start = self._buffer.find(self._mark)
        if start < 0:
            # Nothing before a boundary is of use; the mark itself may be cut in two.
            del self._buffer[: -len(self._mark)]
            return None
        headers_end = self._end_of_headers(start)
        if headers_end is None:
            return None
        body, gap = headers_end
        length = _content_length(bytes(self._buffer[start:body]))
        end = body + length if length is not None else self._buffer.find(self._mark, body)
        if end < 0 or end > len(self._buffer):
            return self._resync(body)
        part = bytes(self._buffer[body:end])
        del self._buffer[:end]
        return part if gap else b""

    def _end_of_headers(self, start: int) -> tuple[int, int] | None:
        ends = [(self._buffer.find(gap, start), len(gap)) for gap in (b"\r\n\r\n", b"\n\n")]
        found = min(((at, size) for at, size in ends if at >= 0), default=None)
        return (found[0] + found[1], found[1]) if found else None

    def _resync(self, body: int) -> bytes | None:
        """Drop a part whose stated length reaches past the next boundary: its sender broke off."""
        following = self._buffer.find(b"\r\n" + self._mark, body)
        if following < 0:
            return None
        del self._buffer[: following + 2]
        return b""


class PolledPicture:
    """An address that answers with one picture: fetched again for every frame.

    Args:
        url: The address, credentials in it or not.
        name: What messages call the source.
    """

    fps: float | None = 1 / POLL_INTERVAL_S

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = url, name
        self._due = time.monotonic()

    def read(self) -> Image:
        """Fetch and decode the picture, at most once in `POLL_INTERVAL_S`.

        Raises:
            DamagedFrame: It cannot be decoded.
            SourceError: Nobody answers, or not with a picture.
        """
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = time.monotonic() + POLL_INTERVAL_S
        with request(self._url, self._name) as response:
            try:
                data = response.read(MAX_PICTURE_BYTES)
            except _FAILURES as error:
                raise SourceError(f"source '{self._name}' was lost: {_reason(error)}") from error
        try:
            return decode_image(data, self._name)
        except InputError as error:
            raise DamagedFrame(f"source '{self._name}' sent a picture that cannot be decoded") from error

    def skip(self) -> None:
        """Ask for none until the next is due."""
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = time.monotonic() + POLL_INTERVAL_S

    def interrupt(self) -> None:
        """A picture that is being fetched ends by its own time limit."""

    def close(self) -> None:
        """Nothing is held between pictures."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects without reading what comes with them: urllib would read an endless body for ever."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        fp.close()
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Basic(urllib.request.HTTPBasicAuthHandler):
    """Closes the answer that asks for a password, which urllib leaves open."""

    def http_error_401(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage
    ) -> Any:
        fp.close()
        return super().http_error_401(req, fp, code, msg, headers)


class _Digest(urllib.request.HTTPDigestAuthHandler):
    """Closes the answer that asks for a password, which urllib leaves open."""

    def http_error_401(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage
    ) -> Any:
        fp.close()
        return super().http_error_401(req, fp, code, msg, headers)


def open_http(url: str, name: str) -> Capture:
    """Open an HTTP camera by what it answers: MJPEG, single pictures, or a stream for FFmpeg.

    Raises:
        SourceError: Nobody answers.
        SourceRefused: It answers with an error or with something that is no picture.
    """
    response = request(url, name)
    kind = response.headers.get_content_type()
    if kind.startswith("multipart/"):
        return MjpegCapture(response, _boundary(response.headers, name), name)
    response.close()
    if kind.startswith("image/"):
        return PolledPicture(url, name)
    if kind.startswith("video/") or "mpegurl" in kind:
        return open_stream(url, name)
    raise SourceRefused(f"source '{name}' answers with {kind}: expected MJPEG, a picture or a video stream")


def request(url: str, name: str) -> http.client.HTTPResponse:
    """Ask for an address, with its credentials where the server wants them (Basic or Digest).

    Raises:
        SourceError: Nobody answers within `TIMEOUT_S`.
        SourceRefused: The answer is an error.
    """
    parts = urlsplit(url)
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    try:
        response: http.client.HTTPResponse = _opener(parts, plain).open(plain, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        raise SourceRefused(f"source '{name}' refuses: {error.code} {_advice(error.code)}") from error
    except _FAILURES as error:
        raise SourceError(f"source '{name}' cannot be opened: {_reason(error)}") from error
    return response


def _opener(parts: SplitResult, plain: str) -> urllib.request.OpenerDirector:
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if parts.username is not None:
        passwords.add_password(None, plain, unquote(parts.username), unquote(parts.password or ""))
    return urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        _Redirects(),
        _Basic(passwords),
        _Digest(passwords),
    )


def _boundary(headers: email.message.Message, name: str) -> str:
    boundary = headers.get_param("boundary")
    if not isinstance(boundary, str) or not boundary.strip('"-'):
        raise SourceRefused(f"source '{name}' sends MJPEG without naming its boundary")
    return boundary


def _content_length(headers: bytes) -> int | None:
    for line in headers.lower().splitlines():
        key, _, value = line.partition(b":")
        if key.strip() == b"content-length" and value.strip().isdigit():
            length = int(value)
            return length if 0 < length <= MAX_PART_BYTES else None
    return None


def _advice(code: int) -> str:
    if code in (401, 403):
        return "(user and password: put them into the address, http://user:password@host/...)"
    return "(there is no such address on it)" if code == 404 else "(its own error)"


def _reason(error: BaseException) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return f"no answer for {TIMEOUT_S:.0f} s"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror.lower()
    return "the answer breaks off" if isinstance(inner, http.client.HTTPException) else "no usable answer"
