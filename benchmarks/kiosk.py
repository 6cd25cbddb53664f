"""What the kiosk page costs the loop, and how fast it learns.

python benchmarks/kiosk.py cost BUNDLE [--seconds 15] [--size 1280x720]   answers and frame age with 0, 1, 4 browsers
python benchmarks/kiosk.py teach BUNDLE CLIP --at 30 --label NAME         button to first right answer
"""

import argparse
import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from sightline.edge_app.controls import Stop
from sightline.edge_app.live import RunOptions, run_live
from sightline.runtime.reporter import QuietReporter

PORT = 18_099


class Browser:
    """Asks for views as the page does."""

    def __init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
        self._known: dict[str, object] = {"boot": "", "after": 0, "picture": -1, "width": 800}
        self.pictures = 0

    def view(self) -> Any:
        query = "&".join(f"{name}={value}" for name, value in self._known.items())
        self._connection.request("GET", f"/api/view?{query}")
        reply = self._connection.getresponse()
        data, size = reply.read(), int(reply.headers["X-State-Bytes"])
        state = json.loads(data[:size])
        self._known.update(boot=state["boot"], after=state["version"])
        if len(data) > size:
            self._known["picture"] = state["picture"]["number"]
            self.pictures += 1
        return state

    def order(self, path: str, value: object) -> None:
        self._connection.request("POST", path, json.dumps(value), {"Content-Type": "application/json"})
        self._connection.getresponse().read()


def beside(options: RunOptions, work: Callable[[], None]) -> None:
    """Run with `work` beside it, until that is done."""
    stop = Stop()
    run = threading.Thread(target=run_live, args=(options, stop, QuietReporter()))
    run.start()
    try:
        work()
    finally:
        stop.ask("measured")
        run.join()


def connected() -> Browser:
    """A browser of the page, as soon as it is there."""
    for _ in range(600):
        try:
            browser = Browser()
            browser.view()
            return browser
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the page did not come up")


def cost(bundle: str, seconds: float, size: str) -> None:
    """Print frame-to-answer and age with 0, 1 and 4 browsers, each drawing 20 views a second at most."""
    for browsers in (0, 1, 4):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "lines.jsonl"
            source = f"test://?size={size}&fps=30"
            options = RunOptions(bundle, source, kiosk=str(PORT), json=str(out), every_frame=True)
            pictures = look(options, browsers, seconds)
            lines = [json.loads(line) for line in out.read_text().splitlines()]
        answers = [line for line in lines if "age_ms" in line][30:]
        ages = [line["age_ms"] for line in answers]
        first, last = (datetime.fromisoformat(answers[at]["time"]) for at in (0, -1))
        rate = (len(answers) - 1) / (last - first).total_seconds()
        print(
            f"{browsers} browsers: {rate:5.1f} answers a second, "
            f"frame age p50 {statistics.median(ages):5.1f} ms, "
            f"p99 {statistics.quantiles(ages, n=100)[98]:5.1f} ms, {pictures / seconds:5.1f} pictures a second sent"
        )


def look(options: RunOptions, browsers: int, seconds: float) -> int:
    """Run for a while with browsers looking; the pictures they got."""
    everybody: list[Browser] = []

    def watch(until_s: float) -> None:
        browser = connected()
        everybody.append(browser)
        while time.monotonic() < until_s:
            browser.view()
            time.sleep(0.02)

    def work() -> None:
        connected()
        until_s = time.monotonic() + seconds
        threads = [threading.Thread(target=watch, args=(until_s,)) for _ in range(browsers)]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        for thread in threads:
            thread.join()

    beside(options, work)
    return sum(browser.pictures for browser in everybody)


def teach(bundle: str, clip: str, at: int, label: str) -> None:
    """Print the seconds from the button to the first right answer, the clip playing as fast as it was filmed."""

    def work() -> None:
        browser = connected()
        while (browser.view()["picture"] or {"number": -1})["number"] < at:
            pass
        pressed = time.monotonic()
        browser.order("/api/teach", {"label": label})
        while True:
            state = browser.view()
            if state["answer"] and state["answer"]["label"] == label:
                break
        print(f"'{label}' is recognised {time.monotonic() - pressed:.2f} s after the button")

    with tempfile.TemporaryDirectory() as folder:
        gallery = str(Path(folder) / "taught.gallery")
        try:
            beside(RunOptions(bundle, clip, gallery, kiosk=str(PORT), smooth=5), work)
        except (http.client.HTTPException, OSError) as error:
            raise SystemExit(f"the clip ended before '{label}' was recognised: it must stay in view for 4 s") from error


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    costing = kinds.add_parser("cost")
    costing.add_argument("bundle")
    costing.add_argument("--seconds", type=float, default=15)
    costing.add_argument("--size", default="1280x720")
    teaching = kinds.add_parser("teach")
    teaching.add_argument("bundle")
    teaching.add_argument("clip")
    teaching.add_argument("--at", type=int, default=30, help="frame at which the button is pressed")
    teaching.add_argument("--label", default="new item")
    asked = parser.parse_args()
    if asked.kind == "cost":
        cost(asked.bundle, asked.seconds, asked.size)
    else:
        teach(asked.bundle, asked.clip, asked.at, asked.label)


if __name__ == "__main__":
    main()
