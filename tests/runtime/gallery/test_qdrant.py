"""A collection of Qdrant does what a gallery does, in the engine's own stand-in."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from sightline.runtime import Gallery, GalleryError, NewEntry
from sightline.runtime.gallery import Catalogue, gallery_folder, open_catalogue
from tests.runtime.gallery.make import DIM, MODEL, true_ids, vectors

pytest.importorskip("qdrant_client", reason="qdrant-client is not installed: pip install 'sightline[qdrant]'")

ROWS = vectors(60)
ENTRIES = [
    NewEntry(f"label {row % 3}", 2 * vector, None, {"colour.of": ("red", "blue")[row % 2]}, f"{row}.jpg")
    for row, vector in enumerate(ROWS)
]


def _open(place: str, model: str | None = MODEL, create: bool = True) -> Catalogue:
    return open_catalogue(place, model, create, DIM)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"qdrant+local://{tmp_path}/engine/products"


def test_it_finds_what_a_gallery_finds(uri: str, tmp_path: Path) -> None:
    queries = vectors(8, seed=3)
    with _open(uri) as collection, _open(str(tmp_path / "g")) as gallery:
        ids = np.array(collection.add_many(ENTRIES))
        numbers = np.array(gallery.add_many(ENTRIES))
        found, truth = collection.search(queries, 10), gallery.search(queries, 10)
        assert (found.ids == ids[true_ids(ROWS, queries, 10) - 1]).all() and found.exact
        assert np.abs(found.similarity - truth.similarity).max() < 1e-6
        chosen = [one.match_among(queries[0], 5, "label 1", {"colour.of": "red"}) for one in (collection, gallery)]
        where = dict(zip(ids.tolist(), numbers.tolist(), strict=True))
        assert [(where[match.id], match.label, match.metadata) for match in chosen[0]] == [
            (match.id, match.label, match.metadata) for match in chosen[1]
        ]
        alike = [one.match_among(int(own[7]), 3, None, {}) for one, own in ((collection, ids), (gallery, numbers))]
        assert [where[match.id] for match in alike[0]] == [match.id for match in alike[1]]
        assert collection.match(queries[0], 2)[0].similarity == pytest.approx(float(truth.similarity[0, 0]), abs=1e-6)


def test_entries_are_stored_counted_and_removed(uri: str) -> None:
    with _open(uri) as collection:
        ids = collection.add_many(ENTRIES)
        assert len(set(ids)) == 60 and min(ids) > 0 and max(ids) < 2**63
    with _open(uri, None, create=False) as collection:
        assert (len(collection), collection.model_id) == (60, MODEL)
        assert collection.labels() == {"label 0": 20, "label 1": 20, "label 2": 20}
        assert sorted(collection.ids_of("label 1")) == sorted(ids[1::3])
        kept = {entry.source: entry for entry in collection.entries("label 2")}
        assert len(kept) == 20 and kept["5.jpg"].metadata == {"colour.of": "blue"} and kept["5.jpg"].id == ids[5]
        assert collection.remove([ids[0], ids[0], ids[1], 5]) == 2
        assert len(collection) == 58 and ids[0] not in collection and ids[2] in collection
        assert ids[0] not in collection.search(ROWS[0], 60).ids
        assert (collection.search(ROWS[0], 60).ids[0, 58:] == -1).all()
        stats = collection.stats()
        assert (stats.entries, stats.labels, stats.dim, stats.model_id) == (58, 3, DIM, MODEL)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("redis://localhost/products", "is no gallery"),
        ("qdrant://localhost:6333", "is no gallery"),
        ("qdrant://localhost:port/products", "is no address"),
        ("qdrant://someone:secret@localhost/products", "QDRANT_API_KEY"),
        ("qdrant://localhost:1/products", "no Qdrant server answers"),
        ("qdrant+local:///nowhere/products", "does not exist"),
    ],
)
def test_a_wrong_address_is_one_sentence(place: str, said: str) -> None:
    with pytest.raises(GalleryError, match=said) as error:
        _open(place, create=False)
    assert "secret" not in str(error.value) and "\n" not in str(error.value)


def test_what_does_not_fit_is_refused(uri: str, tmp_path: Path) -> None:
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, VectorParams

    with _open(uri) as collection:
        for entry in (NewEntry("x", vectors(1, dim=DIM + 1)[0]), NewEntry(" ", ROWS[0]), NewEntry("x", 0 * ROWS[0])):
            with pytest.raises(GalleryError):
                collection.add_many([ENTRIES[0], entry])
        assert len(collection) == 0 and collection.match(ROWS[0], 3) == ()
    with pytest.raises(GalleryError, match="build another collection"):
        _open(uri, "model-b")
    with pytest.raises(GalleryError, match=f"{DIM} dimensions, not 5"):
        open_catalogue(uri, MODEL, True, 5)
    other = QdrantClient(path=str(tmp_path / "other"))
    other.create_collection("products", VectorParams(size=DIM, distance=Distance.COSINE))
    other.close()
    with pytest.raises(GalleryError, match="not made by this program"):
        _open(f"qdrant+local://{tmp_path}/other/products")


def test_what_only_a_folder_can_do_is_refused_in_a_sentence(uri: str) -> None:
    for refuse in (gallery_folder, Gallery.open):
        with pytest.raises(GalleryError, match="collection of an engine"):
            refuse(uri)


class _Forbidden(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"status": {"error": "Forbidden: wrong api key"}}).encode()
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def forbidding() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), _Forbidden)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_refuses_is_one_sentence(forbidding: int) -> None:
    with pytest.raises(GalleryError, match=r"Qdrant refused at .*403.*wrong api key"):
        _open(f"qdrant://127.0.0.1:{forbidding}/products")
