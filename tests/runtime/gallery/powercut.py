"""Power cuts: what was written and not synced is lost, in part or as a whole, in any order; run as a script.

    LD_PRELOAD=faults.so python -m tests.runtime.gallery.powercut record faults.so FOLDER TRACE
    python -m tests.runtime.gallery.powercut replay FOLDER TRACE CUTS SEED

`record` writes down every disk call of a gallery's life. `replay` cuts the power at random calls: of each
file, the writes since its last sync are kept or dropped at random, a last one also torn at a 512-byte sector; of the
folder's changes since its last sync (files made, renamed, deleted) any first part is kept. Then the gallery must
open with all that was acknowledged before the cut.
"""

import ctypes
import json
import random
import shutil
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

from sightline.runtime import Gallery, NewEntry
from sightline.runtime.gallery import caretaker, gallery, index
from tests.runtime.gallery.make import MODEL, frame, vectors

for module in (caretaker, gallery, index):
    module.SMALLEST_GRAPH = 20  # type: ignore[attr-defined]

_SECTOR = 512


@dataclass(frozen=True)
class Call:
    """One disk call: W write, T truncate, S sync, C create, R rename, U unlink, M note."""

    kind: str
    path: str
    at: int
    data: bytes


@dataclass
class File:
    """One inode: what is on the disk for sure, and the writes and truncations that may be."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[Call] = field(default_factory=list)


def record(library: str, folder: Path, trace: Path) -> None:
    """Live a gallery's life and write down its disk calls."""
    tracer = ctypes.CDLL(library)
    folder = folder.absolute()
    folder.mkdir(parents=True)
    tracer.trace_start(str(folder).encode(), str(trace).encode())
    chance = random.Random(5)
    live: list[int] = []

    def note(word: str, ids: list[int]) -> None:
        tracer.trace_mark(json.dumps([word, ids]).encode())

    for life in range(4):
        with Gallery.open(folder / "g", model=MODEL) as opened:
            note("open", [])
            for turn in range(12):
                if chance.random() < 0.65 or len(live) < 8:
                    label = f"{life}-{turn}"
                    rows = vectors(chance.randint(1, 5), seed=100 * life + turn)
                    ids = opened.add_many([NewEntry(label, row, frame(turn)) for row in rows])
                    note("added", ids)
                    live += ids
                else:
                    gone = chance.sample(live, 3)
                    note("removing", gone)
                    opened.remove(gone)
                    note("removed", gone)
                    live = [id for id in live if id not in gone]
                if turn % 5 == 4:
                    opened.rebuild()


def read_trace(trace: Path) -> list[Call]:
    """Parse what `faults.c` wrote."""
    data, calls, start = trace.read_bytes(), [], 0
    while start < len(data):
        kind, length = data[start : start + 1].decode(), struct.unpack_from("<I", data, start + 1)[0]
        path = data[start + 5 : start + 5 + length].decode()
        at, size = struct.unpack_from("<QQ", data, start + 5 + length)
        start += 21 + length
        size = size if kind in "WR" else 0
        calls.append(Call(kind, path, at, data[start : start + size]))
        start += size
    return calls


def after_cut(calls: list[Call], chance: random.Random) -> dict[str, bytes]:
    """The files as a power cut after the last of `calls` may leave them, by path."""
    names: dict[str, File] = {}  # as the running system sees them
    durable: dict[str, File] = {}  # as the folder on the disk lists them
    changes: list[Call] = []
    files: dict[int, File] = {}
    for number, call in enumerate(calls):
        if call.kind == "C":
            names[call.path] = files[number] = File()
            changes.append(Call("C", call.path, number, b""))
        elif call.kind in "WT":
            names.setdefault(call.path, File()).pending.append(call)
        elif call.kind == "R":
            names[call.data.decode()] = names.pop(call.path)
            changes.append(call)
        elif call.kind == "U":
            names.pop(call.path, None)
            changes.append(call)
        elif call.kind == "S" and call.path in names:
            file = names[call.path]
            file.synced = _applied(file.synced, file.pending)
            file.pending = []
        elif call.kind == "S":  # a folder
            _list(durable, changes, files)
            changes = []
    _list(durable, changes[: chance.randint(0, len(changes))], files)
    return {path: bytes(_survivor(file, chance)) for path, file in durable.items()}


def verify(folder: Path, calls: list[Call]) -> list[str]:
    """Compare the gallery with what had been acknowledged at the cut."""
    notes = [json.loads(call.path) for call in calls if call.kind == "M"]
    if not notes:
        return []
    added = {id for word, ids in notes if word == "added" for id in ids}
    removed = {id for word, ids in notes if word == "removed" for id in ids}
    pending = {id for word, ids in notes if word == "removing" for id in ids} - removed
    with Gallery.open(folder, model=MODEL, create=False) as opened:
        ids = {entry.id for entry in opened.entries()}
        wrong = list(opened.check().problems)
        wrong += [f"entry {id} is lost" for id in added - removed - pending - ids]
        wrong += [f"removed entry {id} is there" for id in removed & ids]
        wrong += [f"half of the removal {pending} was done"] if 0 < len(pending & ids) < len(pending) else []
        unacknowledged = {opened.entry(id).label for id in ids - added}
        wrong += ["more than one unacknowledged change is there"] if len(unacknowledged) > 1 else []
    return wrong


def replay(folder: Path, trace: Path, cuts: int, seed: int) -> int:
    """Cut the power `cuts` times."""
    calls = read_trace(trace)
    root = next(call.path for call in calls if call.kind == "C").rpartition("/g/")[0]
    dropped = 0
    for turn in range(cuts):
        chance = random.Random(seed + turn)
        done = calls[: chance.randint(1, len(calls))]
        files = after_cut(done, chance)
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "g").mkdir(parents=True)
        for path, data in files.items():
            (folder / path.removeprefix(root + "/")).write_bytes(data)
        full = after_cut([*done, *(Call("S", path, 0, b"") for path in files)], random.Random(0))
        dropped += files != full
        wrong = verify(folder / "g", done)
        if wrong:
            print(
                f"cut {seed + turn} after call {len(done)} of {len(calls)} ({done[-1].kind} {done[-1].path}): {wrong}"
            )
            return 1
    print(f"{cuts} power cuts in {len(calls)} calls, {dropped} lost something unsynced, nothing acknowledged")
    return 0


def _list(durable: dict[str, File], changes: list[Call], files: dict[int, File]) -> None:
    for change in changes:
        if change.kind == "C":
            durable[change.path] = files[change.at]
        elif change.kind == "R" and change.path in durable:
            durable[change.data.decode()] = durable.pop(change.path)
        elif change.kind == "U":
            durable.pop(change.path, None)


def _survivor(file: File, chance: random.Random) -> bytearray:
    share = chance.choice([0.0, 0.5, 1.0])
    kept = [call for call in file.pending if chance.random() < share]
    chance.shuffle(kept)
    if kept and kept[-1].kind == "W" and len(kept[-1].data) > _SECTOR and chance.random() < 0.5:
        whole = _SECTOR * chance.randint(0, len(kept[-1].data) // _SECTOR)
        kept[-1] = Call("W", kept[-1].path, kept[-1].at, kept[-1].data[:whole])
    return _applied(bytearray(file.synced), kept)


def _applied(content: bytearray, calls: list[Call]) -> bytearray:
    content = bytearray(content)
    for call in calls:
        if call.kind == "T":
            content = content[: call.at] + bytes(max(0, call.at - len(content)))
        else:
            content += bytes(max(0, call.at + len(call.data) - len(content)))
            content[call.at : call.at + len(call.data)] = call.data
    return content


if __name__ == "__main__":
    if sys.argv[1] == "record":
        record(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        sys.exit(replay(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))
