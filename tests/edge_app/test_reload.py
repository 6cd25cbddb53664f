"""A reload reaches every part of a run: pictures, figures, the page; and leaves nothing of the old bundle behind."""

import dataclasses
import gc
import threading
import urllib.request
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sightline.edge_app import live
from sightline.edge_app.controls import Stop, Wish
from sightline.edge_app.live import RunOptions, run_live
from sightline.edge_app.outputs.settings import OutputOptions
from sightline.edge_app.overlay import Thumbnails
from sightline.runtime import Bundle, Recognizer
from sightline.runtime.preprocess import Image
from tests.edge_app.kiosks import LIVE, Client, Notes, until
from tests.factories import tiny_bundle, write_bundle


class Run:
    """A run in a thread of the test that can be told to load again."""

    def __init__(self, options: RunOptions) -> None:
        self.stop, self.wish, self.notes = Stop(), Wish(), Notes()
        self.errors: list[BaseException] = []
        self._options = options
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def hear(self, text: str) -> str:
        heard = until(lambda: next((one for one in self.notes.said if text in one), None) or self.errors)
        assert isinstance(heard, str), heard
        return heard

    def _work(self) -> None:
        try:
            run_live(self._options, self.stop, self.notes, self.wish)
        except BaseException as error:
            self.errors.append(error)


@contextmanager
def running(bundle: Path, **more: Any) -> Iterator[Run]:
    run = Run(RunOptions(str(bundle), LIVE, every_frame=True, **more))
    try:
        yield run
    finally:
        run.stop.ask("the test is over")
        run.thread.join(30)
    assert not run.errors and not run.thread.is_alive()


def swap(bundle: Path, fresh: Path) -> str:
    """Put another bundle in its place; gives its id."""
    bundle.rename(bundle.with_name("old"))
    fresh.rename(bundle)
    return Bundle.load(bundle).bundle_id


def renamed(bundle: Path, arch: str) -> Path:
    """The same bundle, said to be another architecture's."""
    loaded = Bundle.load(bundle)
    files = {name: loaded.read(name) for name in loaded.manifest.files}
    write_bundle(bundle, dataclasses.replace(loaded.manifest, arch=arch), files)
    return bundle


def test_pictures_figures_and_page_are_those_of_the_new_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[bool] = []
    make = Thumbnails._make

    def watched(self: Thumbnails, entry: int, side: int) -> Image | None:
        image = make(self, entry, side)
        drawn.append(image is not None)
        return image

    monkeypatch.setattr(Thumbnails, "_make", watched)
    bundle = tiny_bundle(tmp_path / "b")
    fresh = renamed(tiny_bundle(tmp_path / "fresh"), "new")
    more = {"record": str(tmp_path / "r.avi"), "outputs": OutputOptions(metrics="0"), "kiosk": "127.0.0.1:0"}
    with running(bundle, gallery=str(tmp_path / "g"), lines=False, **more) as run:
        url = run.hear("metrics: ").partition("metrics: ")[2]
        page = Client(int(run.hear("kiosk page: ").rstrip("/").rpartition(":")[2]))
        until(lambda: page.post("/api/teach", {"label": "mug"}).status == 202)
        run.hear("Learnt")
        until(lambda: True in drawn)
        new_id = swap(bundle, fresh)
        run.wish.ask()
        run.hear("loaded again")
        drawn.clear()
        until(lambda: drawn)
        assert all(drawn)
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert f'sightline_run_info{{bundle_id="{new_id}"' in answer.read().decode()
        assert ["Model", "new, fp32"] in page.get("/api/health").json


def test_nothing_holds_on_to_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[weakref.ref[Recognizer]] = []
    real = live._open_model

    def noted(options: RunOptions) -> Recognizer:
        recognizer = real(options)
        opened.append(weakref.ref(recognizer))
        return recognizer

    monkeypatch.setattr(live, "_open_model", noted)
    with running(tiny_bundle(tmp_path / "b"), headless=True) as run:
        run.wish.ask()
        run.hear("loaded again")
        until(lambda: gc.collect() >= 0 and opened[0]() is None)
        assert len(opened) == 2 and opened[1]() is not None


def test_a_library_that_fails_in_its_own_way_leaves_the_old_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tiny_bundle(tmp_path / "b"), headless=True) as run:
        run.wish.ask()
        run.hear("loaded again")

        def fail(options: RunOptions) -> Recognizer:
            raise RuntimeError("surprise")

        monkeypatch.setattr(live, "_open_model", fail)
        run.wish.ask()
        assert "RuntimeError: surprise" in run.hear("nothing was reloaded")
