"""The hnswlib graph: approximate neighbours for galleries where comparing all takes longer.

Only candidates come from here; `Gallery` scores them against its own vectors. Searching while adding is
undefined in hnswlib (its maintainer, nmslib/hnswlib#562), so `Gallery` holds one lock around both.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .container import DoubtfulGraph, GraphHeader, Links, Speed

SPACE = "ip"
M = 16
EF_CONSTRUCTION = 200
_SEED = 100
_BATCH = 256
_SPARE = 1024
_DELETED_BYTE = 2


def available() -> bool:
    """Whether hnswlib is installed; asked only where a gallery is large enough for a graph.

    It ships as source only, is compiled for the machine it was built on, and traps on a lesser one: a device
    whose gallery stays small never loads it.
    """
    return importlib.util.find_spec("hnswlib") is not None


def _new_index(*definition: Any) -> Any:
    import hnswlib

    return hnswlib.Index(*definition)


class Graph:
    """One hnswlib index whose labels are entry ids.

    Attributes:
        dim: Width of its vectors.
        last_id: The highest id in it; entries above are not in the graph yet.
        deleted: Entries marked as removed.
        ef: Width of the search: wider finds more and takes longer.
    """

    def __init__(self, index: Any, dim: int, last_id: int) -> None:
        self._index = index
        self.dim = dim
        self.last_id = last_id
        self.deleted = 0
        self.ef = 64

    def __len__(self) -> int:
        return int(self._index.get_current_count())

    @property
    def deleted_share(self) -> float:
        """Share of its entries that are marked as removed."""
        return self.deleted / max(1, len(self))

    @classmethod
    def empty(cls, dim: int, capacity: int) -> "Graph":
        """Make a graph for about `capacity` entries; it grows past that."""
        index = _new_index(SPACE, dim)
        index.init_index(capacity + capacity // 4 + _SPARE, M=M, ef_construction=EF_CONSTRUCTION, random_seed=_SEED)
        return cls(index, dim, 0)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32], threads: int = 1) -> None:
        """Add entries whose ids lie above all present ones."""
        if len(ids) == 0:
            return
        wanted = len(self) + len(ids)
        if wanted > self._index.get_max_elements():
            self._index.resize_index(wanted + wanted // 4)
        self._index.add_items(vectors, ids, num_threads=threads)
        self.last_id = int(ids[-1])

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Mark entries as removed; ids above `last_id` are not in the graph and passed over."""
        for id in ids[ids <= self.last_id]:
            try:
                self._index.mark_deleted(int(id))
            except RuntimeError:  # not in it: it was removed before the graph was built
                continue
            self.deleted += 1

    def search(self, queries: NDArray[np.float32], k: int) -> NDArray[np.int64] | None:
        """Ids of about the nearest k of each query, or None where the graph does not give that many."""
        if k > len(self) - self.deleted:
            return None
        self._index.set_ef(max(self.ef, k))
        try:
            return np.asarray(self._index.knn_query(queries, k=k, num_threads=1)[0]).astype(np.int64)
        except RuntimeError:  # "Cannot return the results in a contiguous 2D array"
            return None

    def links(self, checksums_of: Callable[[NDArray[np.int64]], NDArray[np.uint32]]) -> Links:
        """Copy the graph without its vectors.

        Args:
            checksums_of: The checksum of each id, 0 where it was removed.
        """
        state = self._index.__getstate__()[0]
        count, width = state["cur_element_count"], state["offset_data"]
        nodes = state["data_level0"].view(np.uint8).reshape(count, -1)
        base = nodes[:, :width].copy()
        base[:, _DELETED_BYTE] = 0
        ids = nodes[:, state["label_offset"] :].copy().view("<u8")[:, 0].astype(np.int64)
        upper = state["link_lists"].view(np.uint8).copy().view("<u4").reshape(-1, 1 + state["M"])
        return Links(
            ids,
            checksums_of(ids),
            state["element_levels"][:count].astype(np.int32),
            base.view("<u4"),
            upper,
        )

    def header(self, gallery: bytes, model_id: str, epoch: int, links: Links, speed: Speed | None) -> GraphHeader:
        """Describe `links` for the container."""
        entry_point = int(np.argmax(links.levels))
        return GraphHeader(
            gallery=gallery.hex(),
            model_id=model_id,
            epoch=epoch,
            dim=self.dim,
            space=SPACE,
            count=len(links.ids),
            m=M,
            ef_construction=EF_CONSTRUCTION,
            max_level=int(links.levels.max()),
            entry_point=entry_point,
            upper_bytes=links.upper.nbytes,
            speed=speed,
        )

    @classmethod
    def from_nodes(cls, header: GraphHeader, links: Links, nodes: NDArray[np.void]) -> "Graph":
        """Make the graph of checked links: nodes as `nodes_of` gives them, with their vectors.

        Raises:
            DoubtfulGraph: hnswlib does not take them.
        """
        try:
            index = _new_index(_state(header, links, nodes))
        except (RuntimeError, ValueError, KeyError) as error:
            raise DoubtfulGraph(f"hnswlib does not take it ({error})") from error
        return cls(index, header.dim, int(links.ids.max()))


def nodes_of(links: Links, dim: int) -> NDArray[np.void]:
    """Lay nodes out as hnswlib does, "vector", float32 (dim,), still to be written.

    Vectors are copied from the gallery's own straight into their places: at 1,000,000 entries that is 1 GB of memory
    that opening does not take.
    """
    width = links.base.shape[1]
    nodes = np.empty(len(links.ids), np.dtype([("links", "<u4", (width,)), ("vector", "<f4", (dim,)), ("id", "<u8")]))
    nodes["links"], nodes["id"] = links.base, links.ids
    return nodes


def build(
    ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    threads: int = 1,
    stopped: Callable[[], bool] = lambda: False,
    advance: Callable[[int], None] = lambda count: None,
) -> Graph | None:
    """Build a graph in small steps.

    Args:
        ids: int64, shape (n,), ascending.
        vectors: float32, shape (n, dim).
        threads: Threads that build.
        stopped: Asked between steps.
        advance: Told after each step how many entries it added.

    Returns:
        None when it was stopped.
    """
    graph, step = Graph.empty(vectors.shape[1], len(ids)), _BATCH * threads
    for start in range(0, len(ids), step):
        if stopped():
            return None
        rows = slice(start, start + step)
        graph.add(ids[rows], vectors[rows], threads)
        advance(len(ids[rows]))
    return graph


def fill_from_neighbours(vectors: NDArray[np.float32], missing: NDArray[np.bool_], base: NDArray[np.uint32]) -> None:
    """Give nodes whose entry was removed the mean of their neighbours, in place: the way through them stays."""
    for node in np.flatnonzero(missing):
        neighbours = base[node, 1 : 1 + base[node, 0]]
        neighbours = neighbours[~missing[neighbours]]
        if len(neighbours):
            mean = vectors[neighbours].mean(axis=0)
            vectors[node] = mean / max(float(np.linalg.norm(mean)), 1e-12)


def _state(header: GraphHeader, links: Links, nodes: NDArray[np.void]) -> dict[str, Any]:
    """The dictionary from which hnswlib's own pickling makes an index."""
    count, dim, width = header.count, header.dim, links.base.shape[1] * 4
    return {
        "ser_version": 1,
        "space": SPACE,
        "dim": dim,
        "index_inited": True,
        "ep_added": True,
        "normalize": False,
        "num_threads": 1,
        "seed": _SEED,
        "offset_level0": 0,
        "max_elements": count + count // 4 + _SPARE,
        "cur_element_count": count,
        "size_data_per_element": nodes.itemsize,
        "label_offset": width + 4 * dim,
        "offset_data": width,
        "max_level": header.max_level,
        "enterpoint_node": header.entry_point,
        "max_M": header.m,
        "max_M0": 2 * header.m,
        "M": header.m,
        "mult": 1.0 / np.log(float(header.m)),
        "ef_construction": header.ef_construction,
        "ef": 64,
        "has_deletions": False,
        "size_links_per_element": 4 * (1 + header.m),
        "allow_replace_deleted": False,
        "label_lookup_external": links.ids.astype(np.uint64),
        "label_lookup_internal": np.arange(count, dtype=np.uint32),
        "element_levels": np.ascontiguousarray(links.levels, np.int32),
        "data_level0": nodes.view(np.int8),
        "link_lists": np.ascontiguousarray(links.upper).view(np.int8).reshape(-1),
    }
