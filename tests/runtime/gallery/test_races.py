"""A fit takes seconds: what others write, and what goes wrong, meanwhile."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sightline.runtime import Gallery, GalleryError
from sightline.runtime.gallery import calibration, caretaker, check_folder, reembed
from tests.runtime.gallery.make import MODEL, frame, small_gallery, vectors

FALLBACK = 0.5


def _after_one_fit(patch: pytest.MonkeyPatch, then: Callable[[], object]) -> threading.Event:
    """Have something done between the next fit and the writing of it; the event is set when it was."""
    fit, done = caretaker.fit, threading.Event()

    def fit_and_then(*words: Any) -> Any:
        fitted = fit(*words)
        if not done.is_set():
            done.set()
            then()
        return fitted

    patch.setattr(caretaker, "fit", fit_and_then)
    return done


def test_a_calibration_of_the_old_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        for number, row in enumerate(vectors(30)):
            gallery.add(f"label {number % 3}", row, crop=frame(number))
        _after_one_fit(monkeypatch, lambda: reembed(tmp_path / "g", "model-b", lambda frames: vectors(len(frames), 3)))
        with pytest.raises(GalleryError, match="holds embeddings of model model-b"):
            gallery.calibrate(0.05, FALLBACK, vectors(30, 1))
    with Gallery.open(tmp_path / "g", model="model-b") as gallery:
        assert gallery.thresholds is None and len(gallery._store.negatives()) == 0 and gallery.check().ok


@pytest.mark.parametrize("forgets", [False, True])
def test_a_refit_does_not_undo_what_another_process_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgets: bool
) -> None:
    small_gallery(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as loop, Gallery.open(tmp_path / "g", model=MODEL) as command:
        loop.calibrate(0.05, FALLBACK)

        def say() -> None:
            if forgets:
                command.forget_calibration()
            else:
                command.calibrate(0.2, FALLBACK, vectors(50, 1))

        done = _after_one_fit(monkeypatch, say)
        loop.add("label 0", vectors(1, 2)[0])
        assert loop.settle(60) and done.is_set()
        for gallery in (loop, command):
            gallery.match(vectors(1, 2)[0], 1)
            assert gallery.settle(60)
            held = gallery.thresholds
            assert (held is None) == forgets
            assert held is None or (held.aim.false_accepts, held.negatives) == (0.2, 50)
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        assert (gallery.thresholds is None) == forgets
        assert len(gallery._store.negatives()) == (0 if forgets else 50)
    assert check_folder(tmp_path / "g").ok


def test_a_failure_that_nobody_foresaw_is_told_and_the_thread_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_gallery(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        first = gallery.calibrate(0.05, FALLBACK)
        with monkeypatch.context() as patch:

            def breaks(*words: object) -> None:
                raise ValueError("no such axis")

            patch.setattr(caretaker, "fit", breaks)
            gallery.add("label 0", vectors(1, 2)[0])
            assert gallery.settle(60)
        assert "no such axis" in str(gallery.stats().trouble)
        gallery.add("label 1", vectors(1, 3)[0])
        assert gallery.settle(60)
        assert gallery.thresholds is not None and gallery.thresholds.entries == first.entries + 2


def test_closing_does_not_wait_for_a_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_gallery(tmp_path / "g")
    gallery = Gallery.open(tmp_path / "g", model=MODEL)
    first = gallery.calibrate(0.05, FALLBACK, vectors(30, 1))
    look_up, looked_up = calibration._scores, threading.Semaphore(0)

    def slowly(*words: Any) -> Any:
        looked_up.release()
        time.sleep(0.2)
        return look_up(*words)

    with monkeypatch.context() as patch:
        patch.setattr(calibration, "_scores", slowly)
        gallery.add("label 0", vectors(1, 2)[0])
        assert looked_up.acquire(timeout=60)
        gallery.close()
    rest = sum(looked_up.acquire(blocking=False) for _ in range(61))
    assert rest <= 2, "of the 60 look-ups that were left"
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        assert gallery.thresholds == first and gallery.check().ok
        gallery.match(vectors(1, 2)[0], 1)
        assert gallery.settle(60)
        assert gallery.thresholds is not None and gallery.thresholds.entries == first.entries + 1
