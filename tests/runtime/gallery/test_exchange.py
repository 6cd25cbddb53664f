"""Damage and edited tables are named, and never carried into a gallery that looks whole."""

import csv
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sightline.runtime import Gallery, GalleryError, InputError
from sightline.runtime.gallery import check_folder, export_gallery, import_gallery, merge, reembed
from tests.runtime.gallery.make import MODEL, frame, small_gallery, vectors

Rows = list[dict[str, str]]


def _change_label(database: sqlite3.Connection) -> None:
    database.execute("UPDATE entries SET label = 'wrong' WHERE id = 2")


def _flip_bit(database: sqlite3.Connection) -> None:
    vector = bytearray(database.execute("SELECT embedding FROM entries WHERE id = 3").fetchone()[0])
    vector[3] ^= 0x80
    database.execute("UPDATE entries SET embedding = ? WHERE id = 3", (bytes(vector),))


def _lose_row(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM entries WHERE id = 4")


@pytest.mark.parametrize("damage", [_change_label, _flip_bit, _lose_row])
def test_damage_is_not_given_fresh_checksums(tmp_path: Path, damage: Callable[[sqlite3.Connection], None]) -> None:
    with Gallery.open(tmp_path / "g", model=MODEL) as gallery:
        for number, row in enumerate(vectors(6)):
            gallery.add("mug", row, crop=frame(number))
    small_gallery(tmp_path / "whole", 3)
    database = sqlite3.connect(tmp_path / "g" / "gallery.db")
    damage(database)
    database.commit()
    database.close()
    for action in (
        lambda: export_gallery(tmp_path / "g", tmp_path / "out"),
        lambda: merge([tmp_path / "whole", tmp_path / "g"], tmp_path / "out"),
        lambda: reembed(tmp_path / "g", "model-b", lambda frames: vectors(len(frames), 1)),
    ):
        with pytest.raises(GalleryError, match=r"is damaged: .*entr"):
            action()
        assert not (tmp_path / "out").exists() and not check_folder(tmp_path / "g").ok


def _edited(tmp_path: Path, edit: Callable[[Rows], object]) -> Path:
    """An export of six entries whose table, and with it the embeddings, was edited."""
    small_gallery(tmp_path / "g", 6)
    out = tmp_path / "out"
    export_gallery(tmp_path / "g", out)
    with (out / "entries.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    edit(rows)
    with (out / "entries.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(rows)
    np.save(out / "embeddings.npy", np.resize(np.load(out / "embeddings.npy"), (len(rows), vectors(1).shape[1])))
    return out


def test_a_row_given_twice_is_one_entry(tmp_path: Path) -> None:
    out = _edited(tmp_path, lambda rows: rows.append(rows[0]))
    done = import_gallery(out, tmp_path / "again")
    assert (done.added, done.known) == (6, 1)
    merge([tmp_path / "again", tmp_path / "g"], tmp_path / "both")
    with Gallery.open(tmp_path / "both", model=MODEL) as both:
        assert len(both) == 6 and both.add("new", vectors(1, 5)[0]) == 7
        assert both.check().ok


@pytest.mark.parametrize(
    ("column", "text", "said"),
    [("metadata", r'{"a": "\ud800"}', "metadata"), ("model_id", "", "model_id"), ("label", " ", "label")],
)
def test_what_cannot_be_stored_is_one_sentence(tmp_path: Path, column: str, text: str, said: str) -> None:
    out = _edited(tmp_path, lambda rows: [row.update({column: text}) for row in rows])
    with pytest.raises(InputError, match=rf"^entry '[0-9a-f]+' of '.*entries.csv' cannot be read: .*{said}.*$"):
        import_gallery(out, tmp_path / "again")
    assert not (tmp_path / "again").exists()
