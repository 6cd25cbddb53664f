"""The thread that serves the page, and its end."""

import asyncio
import logging
import socket
import threading

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from .feed import Feed

# A few screens and the odd stranger; more would only be somebody's mistake.
MAX_CONNECTIONS = 64
_END_S = 1.0
_IDLE_S = 30


class Server:
    """Serves an application on a socket until it is closed.

    Args:
        app: The application.
        listening: The socket, listening; closed with the server.
        feed: Told which event loop waits for it, and when to let everybody go.
    """

    def __init__(self, app: ASGIApp, listening: socket.socket, feed: Feed) -> None:
        self._feed, self._listening = feed, listening
        self._server = uvicorn.Server(_config(app))
        self._thread = threading.Thread(target=self._run, name="sightline-kiosk", daemon=True)

    def start(self) -> None:
        """Serve from now on; the socket listens already, so that nobody is turned away before."""
        self._thread.start()

    def close(self) -> None:
        """End within about a second, whatever browsers do."""
        self._server.should_exit = True
        self._feed.close()
        self._thread.join(2 * _END_S)
        self._listening.close()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._feed.attach(runner.get_loop())
            runner.run(self._server.serve([self._listening]))


class _Impatient(H11Protocol):
    """Closes a connection that never brought a request.

    Such as browsers open in advance, and as stay behind when a machine leaves the network: uvicorn would keep them for
    ever, until `MAX_CONNECTIONS` of them shut everybody out.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(_IDLE_S, self._close_unused)

    def _close_unused(self) -> None:
        if self.cycle is None:
            self.transport.close()


def _config(app: ASGIApp) -> uvicorn.Config:
    # What uvicorn would log are addresses of visitors and their mistakes; ours are told through the reporter.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=_Impatient,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=int(_END_S),
        h11_max_incomplete_event_size=16_384,
    )
