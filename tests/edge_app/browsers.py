"""A real Chromium, where one is installed, and pages that tell what went wrong in them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; skips the test with a reason where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no browser to drive")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("Chromium is not installed: the page cannot be tried in a real browser")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page in a fresh context, with what it asked for and what it complained of."""

    def __init__(self, browser: Any, url: str, size_wh: tuple[int, int] = (800, 480), **more: Any) -> None:
        width, height = size_wh
        self.context = browser.new_context(viewport={"width": width, "height": height}, **more)
        self.context.set_default_timeout(180_000)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.goto(url, wait_until="load")

    def _hear(self, message: Any) -> None:
        # A program that is gone is told of by the browser itself; everything else is a defect of the page.
        if message.type in ("error", "warning") and "ERR_CONNECTION" not in message.text:
            self.complaints.append(message.text)

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector))

    def wait_text(self, selector: str, text: str) -> None:
        self.page.wait_for_function(
            "([selector, text]) => document.querySelector(selector).textContent.includes(text)", arg=[selector, text]
        )

    def close(self) -> None:
        self.context.close()
