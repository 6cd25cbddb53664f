"""The graph's file: a container that is verified before a byte of it reaches hnswlib.

hnswlib 0.8.0 trusts its own file: one flipped bit crashed the process in 19 to 36 % of loads or gave wrong
neighbours in up to 35 %, a zeroed sector in 91 %, and saving to a full disk reports success. So its file
functions are not used at all. The container holds links and levels only; vectors come from SQLite, so the
file can neither give a wrong similarity nor keep what was removed.

    8 bytes   magic "SLGRAPH1"
    32 bytes  SHA-256 of everything after it
    4 bytes   length of the header, little-endian
    header    JSON, `GraphHeader`
    payload   ids int64, checksums uint32, levels int32 (one per entry), base links, upper links
"""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..durable import write_file

_MAGIC = b"SLGRAPH1"
_PREFIX = len(_MAGIC) + 32 + 4
_MOST_HEADER_BYTES = 65536


class DoubtfulGraph(Exception):
    """A graph file that must not be used; the message says why. Never leaves the gallery."""


class Speed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What exact and graph search took when they were measured, and what was chosen.

    Attributes:
        machine: Where it was measured.
        rows: Entries then.
        exact_us: One exact search, microseconds.
        graph_us: One graph search, microseconds.
        ef: Width of the graph search that reached the wanted recall, or the widest tried.
        recall: recall@10 reached at that width.
        use_graph: The choice.
    """

    machine: str
    rows: int
    exact_us: float
    graph_us: float
    ef: int
    recall: float
    use_graph: bool


class GraphHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a graph file says of itself.

    Attributes:
        gallery: The gallery's uuid, hexadecimal.
        model_id: The embedding space.
        epoch: Of the vectors that it was built from.
        dim: Their width.
        space: hnswlib's distance; always "ip".
        count: Entries in the graph.
        m: Links an entry and layer (hnswlib's M).
        ef_construction: Width of the search while building.
        max_level: Highest layer.
        entry_point: Where every search begins.
        upper_bytes: Length of the upper links.
        speed: What was measured, or None.
    """

    gallery: str
    model_id: str
    epoch: int
    dim: int
    space: str
    count: int
    m: int
    ef_construction: int
    max_level: int
    entry_point: int
    upper_bytes: int
    speed: Speed | None = None


class Links(msgspec.Struct, frozen=True):
    """A graph without its vectors.

    Attributes:
        ids: int64, shape (count,): the entry of each node.
        checksums: uint32, shape (count,): of the entries that the links were made for; 0 where removed.
        levels: int32, shape (count,): the highest layer of each node.
        base: uint32, shape (count, 1 + 2m): on the lowest layer, how many links and to whom.
        upper: uint32, shape (sum of levels, 1 + m): the same for the layers above, node by node.
    """

    ids: NDArray[np.int64]
    checksums: NDArray[np.uint32]
    levels: NDArray[np.int32]
    base: NDArray[np.uint32]
    upper: NDArray[np.uint32]


def write_container(path: Path, header: GraphHeader, links: Links) -> None:
    """Write a graph file; the old one stays whole if that fails.

    Raises:
        OSError: It could not be written.
    """
    text = msgspec.json.encode(header)
    arrays = (links.ids, links.checksums, links.levels, links.base, links.upper)
    body = len(text).to_bytes(4, "little") + text + b"".join(array.tobytes() for array in arrays)
    write_file(path, _MAGIC + hashlib.sha256(body).digest() + body)


def read_container(path: Path) -> tuple[GraphHeader, Links]:
    """Read a graph file and check every byte and every link of it.

    Raises:
        DoubtfulGraph: Anything about it is not as it was written.
        OSError: It cannot be read.
    """
    data = path.read_bytes()
    if len(data) < _PREFIX or data[:8] != _MAGIC:
        raise DoubtfulGraph("it is no graph file of this version")
    if hashlib.sha256(memoryview(data)[40:]).digest() != data[8:40]:
        raise DoubtfulGraph("it fails its SHA-256")
    length = int.from_bytes(data[40:44], "little")
    if length > min(_MOST_HEADER_BYTES, len(data) - _PREFIX):
        raise DoubtfulGraph("its header is longer than the file")
    try:
        header = msgspec.json.decode(data[_PREFIX : _PREFIX + length], type=GraphHeader)
    except msgspec.MsgspecError as error:
        raise DoubtfulGraph(f"its header cannot be read ({error})") from error
    links = _split(memoryview(data)[_PREFIX + length :], header)
    _check_links(header, links)
    return header, links


def _split(payload: memoryview, header: GraphHeader) -> Links:
    count, m = header.count, header.m
    if not (0 < count < 2**31 and 2 <= m <= 512 and header.upper_bytes >= 0):
        raise DoubtfulGraph("its header gives impossible sizes")
    sizes = [8 * count, 4 * count, 4 * count, 4 * count * (1 + 2 * m), header.upper_bytes]
    if sum(sizes) != len(payload) or header.upper_bytes % (4 * (1 + m)):
        raise DoubtfulGraph("its length is not what its header says")
    ends = np.cumsum(sizes)
    parts = [payload[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    return Links(
        np.frombuffer(parts[0], "<i8"),
        np.frombuffer(parts[1], "<u4"),
        np.frombuffer(parts[2], "<i4"),
        np.frombuffer(parts[3], "<u4").reshape(count, 1 + 2 * m),
        np.frombuffer(parts[4], "<u4").reshape(-1, 1 + m),
    )


def _check_links(header: GraphHeader, links: Links) -> None:
    # A file made to harm carries a right SHA-256: an index out of range would still reach C++.
    levels, count = links.levels, header.count
    whole = (
        levels.min() >= 0
        and levels.max() == header.max_level
        and int(levels.sum(dtype=np.int64)) == len(links.upper)
        and 0 <= header.entry_point < count
        and levels[header.entry_point] == header.max_level
        and _all_differ(links.ids)
        and links.ids.min() > 0
        and _in_range(links.base, count)
        and _in_range(links.upper, count)
        and _upper_targets_exist(levels, links.upper)
    )
    if not whole:
        raise DoubtfulGraph("its links lead outside the graph")


def _in_range(links: NDArray[np.uint32], count: int) -> bool:
    used = np.arange(links.shape[1] - 1) < links[:, :1]
    return bool((links[:, 0] < links.shape[1]).all() and (links[:, 1:][used] < count).all())


def _upper_targets_exist(levels: NDArray[np.int32], upper: NDArray[np.uint32]) -> bool:
    """Whether every link of an upper layer leads to a node that reaches that layer."""
    if len(upper) == 0:
        return True
    first = np.cumsum(levels) - levels
    layer = np.arange(len(upper)) - np.repeat(first, levels) + 1
    used = np.arange(upper.shape[1] - 1) < upper[:, :1]
    reach = np.where(used, levels[np.where(used, upper[:, 1:], 0)], np.iinfo(np.int32).max)
    return bool((reach >= layer[:, None]).all())


def _all_differ(ids: NDArray[np.int64]) -> bool:
    # np.unique's first call imports for 15 ms, while the first answer waits.
    ordered = np.sort(ids)
    return bool((ordered[1:] != ordered[:-1]).all())
