"""A collection of Qdrant as a gallery: for catalogues too large for one device, by the same commands.

    qdrant://HOST[:PORT]/COLLECTION         a server, by HTTP; Qdrant 1.16 or newer
    qdrant+https://HOST[:PORT]/COLLECTION   the same over TLS; the environment's QDRANT_API_KEY is its key
    qdrant+local://FOLDER/COLLECTION        Qdrant's own stand-in within this process, every entry compared

The stand-in is for tests and trials: one process at a time, a few ten thousand entries, and it unpickles what
it reads, so a folder from strangers must not be opened. Pictures are not kept: an entry's source names the
file. A removed entry is never found again, and the engine overwrites it when its optimizer next runs.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from ..errors import GalleryError
from ..recognition import Match
from .entries import check_texts, unit_rows
from .values import CatalogueStats, Entry, Matches, NewEntry

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.models import CollectionInfo, Filter

_SCHEMA_VERSION = 1
_MARK = "sightline"
_TIMEOUT_S = 30
# A batch stays well below the server's limit of 32 MB a request: 256 wide, an entry is some 3 KB of JSON.
_BATCH = 500
_PAGE = 1000
_MOST_LABELS = 1_000_000
_EXAMPLE = "'qdrant://localhost:6333/products'"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a collection lies: a server's host, or a folder of Qdrant's stand-in; the other is None."""

    uri: str
    collection: str
    host: str | None
    port: int
    prefix: str | None
    https: bool
    folder: str | None

    @classmethod
    def parse(cls, uri: str) -> "Address":
        """Read a URI.

        Raises:
            GalleryError: It is none of the three forms.
        """
        scheme, _, rest = uri.partition("://")
        folder, _, collection = rest.rpartition("/")
        if scheme not in ("qdrant", "qdrant+https", "qdrant+local") or not (folder and collection):
            raise GalleryError(f"'{uri}' is no gallery: name a folder, or a collection as in {_EXAMPLE}")
        if scheme == "qdrant+local":
            return cls(uri, collection, None, 0, None, False, folder)
        try:
            parts = urlsplit(uri)
            host, port, user = parts.hostname, parts.port or 6333, parts.username
        except ValueError as error:
            raise GalleryError(f"'{rest}' is no address of a collection ({error}), as in {_EXAMPLE}") from error
        if user is not None:
            raise GalleryError("a key has no place in an address, which is logged: set QDRANT_API_KEY instead")
        prefix = parts.path.rpartition("/")[0].strip("/")
        return cls(uri, collection, host, port, prefix or None, scheme == "qdrant+https", None)

    def connect(self) -> "QdrantClient":
        """Open a client; whether a server answers shows with its first call."""
        from qdrant_client import QdrantClient

        if self.folder is not None:
            return QdrantClient(path=self.folder)
        return QdrantClient(
            host=self.host,
            port=self.port,
            prefix=self.prefix,
            https=self.https,
            api_key=os.environ.get("QDRANT_API_KEY"),
            timeout=_TIMEOUT_S,
            check_compatibility=False,
        )


class QdrantCatalogue:
    """An open collection; see `Catalogue` for its methods.

    An id is 63 random bits, so that several processes may add at once.

    Attributes:
        path: Its URI.
        model_id: The embedding space of its entries.
        dim: Width of its vectors.
    """

    def __init__(self, address: Address, client: "QdrantClient", model_id: str, dim: int) -> None:
        self.path = address.uri
        self.model_id = model_id
        self.dim = dim
        self._address, self._client, self._name = address, client, address.collection

    @classmethod
    def open(cls, uri: str, model: str | None, create: bool, dim: int | None = None) -> "QdrantCatalogue":
        """Open a collection; see `open_catalogue`.

        Raises:
            GalleryError: It is missing, none of this program's, of another model, or cannot be reached or made;
                or qdrant-client is not installed.
        """
        address = Address.parse(uri)
        if address.folder is not None and not create and not Path(address.folder).is_dir():
            raise _missing(address)
        with _explained(address):
            client = address.connect()
            try:
                if not client.collection_exists(address.collection):
                    if not create or model is None or dim is None:
                        raise _missing(address)
                    _create(client, address, model, dim)
                held, width = _head(client, address)
                if model is not None and model != held:
                    raise GalleryError(
                        f"collection '{uri}' holds embeddings of model {held}, this bundle makes {model}: "
                        "build another collection with this bundle"
                    )
                if dim is not None and dim != width:
                    raise GalleryError(f"collection '{uri}' holds embeddings of {width} dimensions, not {dim}")
            except BaseException:
                client.close()
                raise
        return cls(address, client, held, width)

    def close(self) -> None:
        """Close the connection; everything acknowledged is stored."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        with self._calling():
            return self._client.count(self._name, exact=True).count

    def __contains__(self, id: object) -> bool:
        return isinstance(id, int) and id > 0 and bool(self._there([id]))

    def add_many(self, entries: Sequence[NewEntry]) -> list[int]:
        """Store items; returns their ids when the engine has written them. All or none of each 500.

        Raises:
            GalleryError: One cannot be stored.
        """
        from qdrant_client.models import PointStruct

        if not entries:
            return []
        for entry in entries:
            check_texts(entry)
        vectors = np.concatenate([unit_rows(entry.embedding, self.dim) for entry in entries])
        names = [uuid4() for _ in entries]
        ids = [(name.int >> 65) or 1 for name in names]
        points = [
            PointStruct(id=id, vector=vector.tolist(), payload=_payload(entry, name.hex))
            for id, name, vector, entry in zip(ids, names, vectors, entries, strict=True)
        ]
        with self._calling():
            for start in range(0, len(points), _BATCH):
                self._client.upsert(self._name, points[start : start + _BATCH], wait=True)
        return ids

    def remove(self, ids: Sequence[int]) -> int:
        """Remove entries; unknown ids are passed over. Returns how many there were.

        Raises:
            GalleryError: They could not be removed.
        """
        from qdrant_client.models import PointIdsList

        gone = 0
        for start in range(0, len(ids), _PAGE):
            there = self._there(ids[start : start + _PAGE])
            with self._calling():
                if there:
                    self._client.delete(self._name, PointIdsList(points=list(there)), wait=True)
            gone += len(there)
        return gone

    def search(self, queries: NDArray[np.float32], k: int = 5) -> Matches:
        """Find the nearest entries; see `Gallery.search`.

        Raises:
            GalleryError: The queries are of another width, not finite, or zero, or no answer came.
        """
        from qdrant_client.models import QueryRequest

        rows = unit_rows(queries, self.dim)
        _check_k(k)
        with self._calling():
            requests = [QueryRequest(query=row.tolist(), limit=k) for row in rows]
            answers = self._client.query_batch_points(self._name, requests)
        ids, similarity = np.full((len(rows), k), -1, np.int64), np.full((len(rows), k), np.nan, np.float32)
        for row, answer in enumerate(answers):
            found = len(answer.points)
            ids[row, :found] = [point.id for point in answer.points]
            similarity[row, :found] = np.clip([point.score for point in answer.points], -1, 1)
        return Matches(ids, similarity, self._address.folder is not None)

    def match(self, embedding: NDArray[np.float32], k: int = 5) -> tuple[Match, ...]:
        """The nearest entries to one embedding, named, most similar first.

        Raises:
            GalleryError: The embedding is of another width, not finite, or zero, or no answer came.
        """
        return self.match_among(embedding, k, None, {})

    def match_among(
        self, query: NDArray[np.float32] | int, k: int, label: str | None, where: Mapping[str, str]
    ) -> tuple[Match, ...]:
        """The nearest of a selection of entries; see `Gallery.match_among`.

        Raises:
            GalleryError: There is no such entry, the query does not fit, or no answer came.
        """
        _check_k(k)
        if isinstance(query, int):
            if query not in self:
                raise GalleryError(f"there is no entry {query} in '{self.path}': 'sightline gallery list' names them")
            wanted: int | list[float] = query
        else:
            wanted = unit_rows(query, self.dim)[0].tolist()
        with self._calling():
            found = self._client.query_points(self._name, query=wanted, query_filter=_filter(label, where), limit=k)
        return tuple(_match(point.id, point.score, point.payload) for point in found.points)

    def entries(self, label: str | None = None) -> Iterator[Entry]:
        """Go through the entries, of one label or all, by id; changes made meanwhile may be seen."""
        for id, payload in self._scroll(label, with_payload=True):
            yield self._entry(id, payload)

    def labels(self) -> dict[str, int]:
        """Entries of each label, most first."""
        with self._calling():
            answer = self._client.facet(self._name, key="label", limit=_MOST_LABELS, exact=True)
        return {str(hit.value): hit.count for hit in answer.hits}

    def ids_of(self, label: str) -> list[int]:
        """Ids of the entries of a label."""
        return [id for id, _ in self._scroll(label, with_payload=False)]

    def stats(self) -> CatalogueStats:
        """Size, and what the engine says of its index."""
        with self._calling():
            info, version = self._client.get_collection(self._name), self._client.info().version
        local = self._address.folder is not None
        engine = "Qdrant's stand-in within this process" if local else f"Qdrant {version}"
        index = f"{info.indexed_vectors_count or 0} vectors indexed, state {info.status.value}"
        reason = "every entry is compared" if local else index
        return CatalogueStats(
            self.path, self.model_id, self.dim, _SCHEMA_VERSION, len(self), len(self.labels()), engine, reason
        )

    def _there(self, ids: Sequence[int]) -> list[int]:
        wanted = [int(id) for id in dict.fromkeys(ids) if id > 0]
        with self._calling():
            records = self._client.retrieve(self._name, wanted, with_payload=False) if wanted else []
        return [int(record.id) for record in records]

    def _scroll(self, label: str | None, with_payload: bool) -> Iterator[tuple[int, dict[str, Any]]]:
        chosen, offset = _filter(label, {}), None
        while True:
            with self._calling():
                records, offset = self._client.scroll(
                    self._name, scroll_filter=chosen, limit=_PAGE, offset=offset, with_payload=with_payload
                )
            yield from ((int(record.id), record.payload or {}) for record in records)
            if offset is None:
                return

    def _entry(self, id: int, payload: dict[str, Any]) -> Entry:
        try:
            created = datetime.fromisoformat(payload["created"])
            named = payload["uuid"], payload["label"], payload["metadata"], created, payload["source"]
        except (KeyError, TypeError, ValueError):
            raise GalleryError(f"entry {id} of '{self.path}' was not written by this program") from None
        return Entry(id, *named, self.model_id, has_crop=False)

    def _calling(self) -> Any:
        return _explained(self._address)


def _create(client: "QdrantClient", address: Address, model_id: str, dim: int) -> None:
    from qdrant_client.models import Distance, PayloadSchemaType, VectorParams

    mark = {_MARK: {"schema_version": _SCHEMA_VERSION, "model_id": model_id}}
    vectors = VectorParams(size=dim, distance=Distance.COSINE)
    client.create_collection(address.collection, vectors_config=vectors, metadata=mark)
    if _mark_of(client.get_collection(address.collection)) is None:
        client.delete_collection(address.collection)
        raise GalleryError(f"the server of '{address.uri}' keeps no notes with a collection: Qdrant 1.16 does")
    if address.folder is None:
        client.create_payload_index(address.collection, "label", PayloadSchemaType.KEYWORD)


def _head(client: "QdrantClient", address: Address) -> tuple[str, int]:
    """The collection's model and the width of its vectors."""
    info = client.get_collection(address.collection)
    mark, vectors = _mark_of(info), info.config.params.vectors
    width = getattr(vectors, "size", None)
    if mark is None or width is None:
        raise GalleryError(f"collection '{address.uri}' was not made by this program: name another")
    if mark.get("schema_version") != _SCHEMA_VERSION:
        raise GalleryError(f"collection '{address.uri}' was made by a newer version: update sightline to open it")
    return str(mark["model_id"]), int(width)


def _mark_of(info: "CollectionInfo") -> dict[str, Any] | None:
    mark = (info.config.metadata or {}).get(_MARK)
    return mark if isinstance(mark, dict) and "model_id" in mark else None


def _payload(entry: NewEntry, name: str) -> dict[str, Any]:
    created = datetime.now(UTC).isoformat()
    described = {"label": entry.label, "metadata": dict(entry.metadata), "source": entry.source}
    return {"uuid": name, "created": created, **described}


def _match(id: Any, similarity: float, payload: Mapping[str, Any] | None) -> Match:
    kept = payload or {}
    cosine = min(1.0, max(-1.0, float(similarity)))  # rounding may lead past one
    return Match(int(id), str(kept.get("label")), cosine, dict(kept.get("metadata") or {}))


def _filter(label: str | None, where: Mapping[str, str]) -> "Filter | None":
    from qdrant_client.models import FieldCondition, Filter, MatchValue

    wanted = {f'metadata."{name}"': value for name, value in where.items()}
    if label is not None:
        wanted["label"] = label
    if not wanted:
        return None
    return Filter(must=[FieldCondition(key=key, match=MatchValue(value=value)) for key, value in wanted.items()])


def _check_k(k: int) -> None:
    if k < 1:
        raise GalleryError(f"k is at least 1, not {k}")


def _missing(address: Address) -> GalleryError:
    return GalleryError(f"collection '{address.uri}' does not exist: 'sightline gallery build' or 'add' makes one")


@contextmanager
def _explained(address: Address) -> Iterator[None]:
    """Turn what the client raises into one sentence."""
    try:
        from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse
    except ModuleNotFoundError as error:
        raise GalleryError(f"'{address.uri}' needs qdrant-client: pip install 'sightline[qdrant]'") from error
    try:
        yield
    except ResponseHandlingException as error:
        raise GalleryError(
            f"no Qdrant server answers at '{address.uri}' ({error.source}): start it, or correct the address"
        ) from error
    except UnexpectedResponse as error:
        told = bytes(error.content).decode("utf-8", "replace")[:200]
        raise GalleryError(f"Qdrant refused at '{address.uri}': {error.status_code} {told}") from error
    except (RuntimeError, ValueError, OSError) as error:
        raise GalleryError(f"collection '{address.uri}' cannot be used: {error}") from error
