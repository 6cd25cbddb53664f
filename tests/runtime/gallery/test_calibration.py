"""When a match counts as known: fitted, kept, refitted, and lost with the model."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.runtime import Gallery, GalleryError, NewEntry
from sightline.runtime.gallery import check_folder, merge, reembed, salvage
from sightline.runtime.gallery.calibration import upper_bound
from sightline.runtime.gallery.calibration_rows import read_thresholds
from sightline.runtime.manifest import DecisionPolicy
from sightline.runtime.recognition import Candidate, decide
from tests.runtime.gallery.make import MODEL, frame

DIM = 32
CENTRES = np.random.default_rng(0).standard_normal((40, DIM))
FALLBACK = 0.7
POLICY = DecisionPolicy(min_probability=0.6, min_similarity=0.3)


def item(number: int, count: int, seed: int = 0) -> NDArray[np.float32]:
    """Views of an item: unit vectors around a centre, float32 (count, DIM)."""
    noise = np.random.default_rng([number, seed]).standard_normal((count, DIM))
    rows = CENTRES[number] + 0.5 * noise
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def strangers(numbers: range, count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.concatenate([item(number, count, seed) for number in numbers])


def shop(folder: Path, items: range = range(24)) -> None:
    with Gallery.open(folder, model=MODEL) as gallery:
        for number in items:
            gallery.add_many([NewEntry(f"item {number}", row, frame(number)) for row in item(number, 6)])


@pytest.mark.parametrize(("hits", "trials", "bound"), [(0, 300, 0.00993), (0, 30, 0.0950), (3, 100, 0.0757), (5, 5, 1)])
def test_the_upper_bound_is_clopper_and_pearsons(hits: int, trials: int, bound: float) -> None:
    assert upper_bound(hits, trials) == pytest.approx(bound, abs=2e-4)


def test_fresh_negatives_keep_to_the_stated_rate_and_known_items_are_named(tmp_path: Path) -> None:
    shop(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        fitted = gallery.calibrate(0.05, FALLBACK, strangers(range(24, 32), 50))
        assert fitted.negatives == 400 and fitted.entries == 144
        assert fitted.false_accept_rate is not None and fitted.false_accept_bound is not None
        assert fitted.false_accept_rate <= 0.05 <= fitted.false_accept_bound + 0.05
        accepted = [_known(gallery, row) for row in strangers(range(32, 40), 50, seed=1)]
        assert np.mean(accepted) < 0.10
        named = [gallery.match(row, 1)[0].label for number in range(24) for row in item(number, 5, seed=2)]
        assert np.mean([_known(gallery, row) for row in strangers(range(24), 5, seed=2)]) > 0.9
        assert named == [f"item {number}" for number in range(24) for _ in range(5)]


def test_only_the_label_that_negatives_come_near_is_raised(tmp_path: Path) -> None:
    shop(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        before = gallery.calibrate(0.05, FALLBACK, strangers(range(24, 26), 60))
        between = (CENTRES[3] + 0.8 * CENTRES[24]) / 1.3
        near = between + 0.3 * np.random.default_rng(1).standard_normal((120, DIM))
        after = gallery.calibrate(0.05, FALLBACK, near.astype(np.float32))
        assert {gallery.entry(id).label for id in after.of_label} == {"item 3"}
        assert after.similarity < before.similarity + 0.1
        assert gallery.match(item(3, 1, 5)[0], 1)[0].threshold == max(after.of_label.values())
        assert gallery.match(item(4, 1, 5)[0], 1)[0].threshold == after.similarity


def test_thresholds_are_kept_and_follow_entries_of_either_process(tmp_path: Path) -> None:
    shop(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        assert gallery.thresholds is None and gallery.match(item(1, 1)[0], 1)[0].threshold is None
        first = gallery.calibrate(0.05, FALLBACK, strangers(range(24, 28), 40))
        with Gallery.open(tmp_path / "g", model=MODEL) as other:
            assert other.thresholds == first
            other.add_many([NewEntry("taught", row) for row in item(24, 6)])
            assert other.settle(60)
            refitted = other.thresholds
            assert refitted is not None and refitted.generation > first.generation
            assert {other.entry(id).label for id in refitted.of_label} >= {"taught"}
        assert gallery.settle(60) and gallery.thresholds == refitted
        gallery.remove(gallery.ids_of("taught"))
        assert gallery.settle(60)
        assert gallery.thresholds is not None and gallery.thresholds.similarity == first.similarity


def test_a_refit_that_a_crash_prevented_is_made_up_for(tmp_path: Path) -> None:
    shop(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        gallery.calibrate(0.05, FALLBACK, strangers(range(24, 28), 40))
        gallery._caretaker.stop()  # as a process that dies right after an add
        gallery.add_many([NewEntry("taught", row) for row in item(24, 6)])
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        gallery.match(item(1, 1)[0], 1)
        assert gallery.settle(60)
        assert gallery.thresholds is not None and len(gallery.thresholds.of_label) >= 1


def test_too_few_entries_leave_the_bundles_threshold(tmp_path: Path) -> None:
    shop(tmp_path / "g", range(1))
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        assert gallery.calibrate(0.01, FALLBACK).similarity == FALLBACK
    with Gallery.open(tmp_path / "empty", model=MODEL) as gallery, pytest.raises(GalleryError, match="is empty"):
        gallery.calibrate(0.01, FALLBACK)


def test_the_decision_takes_the_gallerys_threshold(tmp_path: Path) -> None:
    shop(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        gallery.calibrate(0.05, FALLBACK, strangers(range(24, 28), 40))
        matches = gallery.match(item(2, 1, 7)[0], 1)
    cut = matches[0].threshold
    assert cut is not None and matches[0].similarity >= cut
    for barred, label in ((False, "item 2"), (True, None)):
        match = replace(matches[0], threshold=matches[0].similarity + 0.01) if barred else matches[0]
        assert decide([Candidate("x", 0.0)], [match], POLICY, ["x"]).label == label


def test_another_model_voids_thresholds_and_negatives(tmp_path: Path) -> None:
    shop(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        gallery.calibrate(0.05, FALLBACK, strangers(range(24, 28), 40))
    done = reembed(tmp_path / "g", "model-b", lambda frames: item(1, len(frames)))
    assert done.uncalibrated
    with Gallery.open(tmp_path / "g", model="model-b") as gallery:
        assert gallery.thresholds is None and len(gallery._store.negatives()) == 0


def test_merging_joins_the_negatives_and_takes_the_stricter_aim(tmp_path: Path) -> None:
    for name, items, aim, seen in (("a", range(12), 0.1, range(24, 26)), ("b", range(12, 24), 0.02, range(26, 30))):
        shop(tmp_path / name, items)
        with Gallery.open(tmp_path / name, model=MODEL) as gallery:
            gallery.calibrate(aim, FALLBACK, strangers(seen, 30))
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    with closing(sqlite3.connect(tmp_path / "c" / "gallery.db")) as connection:
        joined = read_thresholds(connection)
    assert joined is not None and (joined.aim.false_accepts, joined.entries, joined.negatives) == (0.02, 0, 0)
    assert (joined.false_accept_rate, joined.false_reject_rate, joined.auc) == (None, None, None)  # nothing measured
    with Gallery.open(tmp_path / "c", model=MODEL) as gallery:
        gallery.match(item(1, 1)[0], 1)
        assert gallery.settle(60)
        fitted = gallery.thresholds
    assert fitted is not None and (fitted.negatives, fitted.aim.false_accepts) == (180, 0.02)


def test_damage_to_it_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    shop(tmp_path / "g")
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        gallery.calibrate(0.05, FALLBACK, strangers(range(24, 28), 40))
    saved = salvage(tmp_path / "g", tmp_path / "whole")
    assert saved.saved == 144
    with Gallery.open(tmp_path / "whole", model=MODEL) as gallery:
        assert gallery.thresholds is not None and len(gallery._store.negatives()) == 160
    file = tmp_path / "g" / "gallery.db"
    data = bytearray(file.read_bytes())
    data[bytes(data).index(b'"fallback":0.7') + 3] ^= 1
    file.write_bytes(data)
    assert any("thresholds or negatives are damaged" in problem for problem in check_folder(tmp_path / "g").problems)
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        assert gallery.match(item(1, 1)[0], 1)[0].threshold is None
        assert "damaged" in str(gallery.stats().trouble)
        gallery.calibrate(0.05, FALLBACK, strangers(range(24, 28), 40))
        assert gallery.check().ok and gallery.stats().trouble is None


def test_forgetting_leaves_no_byte_of_the_negatives(tmp_path: Path) -> None:
    shop(tmp_path / "g")
    negatives = strangers(range(24, 28), 40)
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        gallery.calibrate(0.05, FALLBACK, negatives)
        stored = gallery._store.negatives()
        gallery.forget_calibration()
        assert gallery.thresholds is None
    data = b"".join(file.read_bytes() for file in (tmp_path / "g").iterdir())
    assert not any(row.tobytes()[:16] in data for row in stored)


def test_a_gallery_of_schema_1_is_read_and_brought_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop(tmp_path / "g", range(3))
    connection = sqlite3.connect(tmp_path / "g" / "gallery.db")
    for statement in ("DROP TABLE calibration", "DROP TABLE negatives", "PRAGMA user_version = 1"):
        connection.execute(statement)
    connection.close()
    with monkeypatch.context() as patch:
        patch.setattr("sightline.runtime.gallery.store._may_write", lambda folder: False)
        with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
            assert len(gallery) == 18 and gallery.thresholds is None and gallery.check().ok
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        assert len(gallery) == 18
        gallery.calibrate(0.05, FALLBACK, strangers(range(24, 26), 30))
        assert gallery.check().ok


def _known(gallery: Gallery, embedding: NDArray[np.float32]) -> bool:
    match = gallery.match(embedding, 1)[0]
    return match.threshold is not None and match.similarity >= match.threshold
