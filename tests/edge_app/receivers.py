"""Receivers that the tests own: an HTTP server that refuses on demand and a small MQTT 3.1.1 broker."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def wait_until(test: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not test():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


class Receiver:
    """Takes POSTed JSON; `answers` are the statuses of the next requests, then 204."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.got: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""


@contextmanager
def receiver() -> Iterator[Receiver]:
    one = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = one.answers.pop(0) if one.answers else 204
            one.headers.append(dict(self.headers))
            if status < 300:
                one.got.append(json.loads(body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    one.url = f"127.0.0.1:{server.server_port}/hooks/s3cret-path"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield one
    finally:
        server.shutdown()
        server.server_close()


class Broker:
    """An MQTT 3.1.1 broker of one topic tree that nobody subscribes to: it notes what is published.

    Args:
        password: What a client must give; "" lets everybody in.
        port: 0 takes a free one.
    """

    def __init__(self, password: str = "", port: int = 0) -> None:
        self.password = password
        self.published: list[tuple[str, bytes, bool]] = []
        self.wills: list[tuple[str, bytes]] = []
        self._server = socket.create_server(("127.0.0.1", port))
        self.port = self._server.getsockname()[1]
        self._clients: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def events(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(payload) for name, payload, _ in list(self.published) if name == topic]

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for client in self._clients:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._clients.append(client)
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as stream, suppress(OSError, EOFError):
            while True:
                kind, body = _packet(stream)
                if kind >> 4 == 1:
                    client.sendall(bytes([0x20, 2, 0, 0 if self._welcome(body) else 5]))
                elif kind >> 4 == 3:
                    self._publish(client, kind, body)
                elif kind >> 4 == 12:
                    client.sendall(bytes([0xD0, 0]))
                elif kind >> 4 == 14:
                    return

    def _welcome(self, body: bytes) -> bool:
        flags, at = body[7], 10
        fields = []
        while at < len(body):
            size = struct.unpack_from(">H", body, at)[0]
            fields.append(body[at + 2 : at + 2 + size])
            at += 2 + size
        if flags & 0x04:
            self.wills.append((fields[1].decode(), fields[2]))
        return not self.password or (bool(flags & 0x40) and fields[-1].decode() == self.password)

    def _publish(self, client: socket.socket, kind: int, body: bytes) -> None:
        size = struct.unpack_from(">H", body)[0]
        topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
        if kind & 0x06:
            client.sendall(bytes([0x40, 2]) + rest[:2])
            rest = rest[2:]
        self.published.append((topic, rest, bool(kind & 1)))


def _packet(stream: Any) -> tuple[int, bytes]:
    head = stream.read(1)
    if not head:
        raise EOFError
    length = shift = 0
    while True:
        byte = stream.read(1)[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return head[0], stream.read(length)
