"""A failing disk: every write, sync, rename and truncation fails in turn; run under `LD_PRELOAD` as a script.

    LD_PRELOAD=faults.so python -m tests.runtime.gallery.faults faults.so FOLDER STEP

Each failure comes once and then for good, as a full disk and as an I/O error. Whatever fails must be one
GalleryError, searching must go on, and afterwards the gallery must hold what was acknowledged and nothing
half. STEP above 1 tries every STEP-th call only.
"""

import ctypes
import errno
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sightline.runtime import Gallery, GalleryError, NewEntry
from sightline.runtime.gallery import caretaker, gallery, index, merge, reembed
from tests.runtime.gallery.crash import OTHER, embed
from tests.runtime.gallery.make import MODEL, entries, frame, vectors

for module in (caretaker, gallery, index):
    module.SMALLEST_GRAPH = 20  # type: ignore[attr-defined]


@dataclass
class Told:
    """What the gallery acknowledged, and what it refused or never finished."""

    added: set[int] = field(default_factory=set)
    removed: set[int] = field(default_factory=set)
    merged: bool = False
    reembedded: bool = False
    refused: list[str] = field(default_factory=list)


def life(folder: Path, told: Told) -> None:
    """Open, add, remove, rebuild, calibrate, add again, close, merge, reembed; failures must be GalleryErrors."""
    try:
        opened = Gallery.open(folder, model=MODEL)
    except GalleryError as error:
        told.refused.append(str(error))
        return
    rows = vectors(6, seed=77)

    def add(first: int) -> None:
        told.added |= set(opened.add_many([NewEntry(f"new {first}", row, frame(1)) for row in rows[first : first + 3]]))

    def remove() -> None:
        opened.remove([2, 3])
        told.removed |= {2, 3}

    def calibrate() -> None:
        opened.calibrate(0.05, 0.7, rows)

    def join() -> None:
        merge([folder, folder.parent.parent / "second"], folder.parent / "m")
        told.merged = True

    def change_model() -> None:
        reembed(folder, OTHER, embed)
        told.reembedded = True

    steps: list[Callable[[], None]] = [lambda: add(0), remove, opened.rebuild, calibrate, lambda: add(3)]
    for step in steps:
        _attempt(step, told)
        opened.search(rows, 3)  # memory answers whatever the disk does
    opened.close()
    for step in (join, change_model):
        _attempt(step, told)


def _attempt(step: Callable[[], None], told: Told) -> None:
    try:
        step()
    except GalleryError as error:
        told.refused.append(str(error))


def verify(folder: Path, told: Told) -> list[str]:
    """What is wrong with the gallery afterwards."""
    with Gallery.open(folder, create=False) as opened:
        ids = {entry.id for entry in opened.entries()}
        wrong = list(opened.check().problems)
        wrong += [f"entry {id} is lost" for id in (set(range(1, 31)) - {2, 3} | told.added) - ids]
        wrong += [f"removed entry {id} is there" for id in told.removed & ids]
        wrong += [f"{len(ids & {2, 3})} of 2 removed"] if len(ids & {2, 3}) == 1 else []
        for label in ("new 0", "new 3"):
            if len(opened.ids_of(label)) not in (0, 3):
                wrong.append(f"{len(opened.ids_of(label))} of 3 entries {label}")
        models = {entry.model_id for entry in opened.entries()}
        wrong += [] if models == {opened.model_id} else [f"embeddings of {models}"]
        wrong += ["the new model's embeddings are lost"] if told.reembedded and opened.model_id != OTHER else []
        wrong += _merge_is_whole(folder.parent / "m", told, len(ids) + 5)
        seen = set(opened.search(vectors(1)[0], 200).ids[0].tolist()) - {-1}
        wrong += [] if seen == ids else ["memory and file differ"]
        opened.add("after all", np.ones(vectors(1).shape[1], np.float32))
    return wrong


def _merge_is_whole(target: Path, told: Told, count: int) -> list[str]:
    if not target.exists():
        return ["the merged gallery is lost"] if told.merged else []
    with Gallery.open(target, create=False) as merged:
        problems = list(merged.check().problems)
        return problems + ([] if len(merged) == count else [f"{len(merged)} of {count} were merged"])


def main(library: str, place: Path, step: int) -> int:
    """Fail every call in turn."""
    faults = ctypes.CDLL(library)
    base = place / "base"
    with Gallery.open(base, model=MODEL) as opened:
        rows = vectors(30)
        opened.add_many([NewEntry(f"label {row % 3}", rows[row], frame(row)) for row in range(30)])
        opened.rebuild()
    with Gallery.open(place / "second", model=MODEL) as second:
        second.add_many(entries(5, seed=9))
    root = (place / "w").absolute()
    folder = root / "g"

    def run(at: int, error: int, always: int) -> Told:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(base, folder)
        told = Told()
        faults.fault_arm(str(root).encode(), at, error, always)
        life(folder, told)
        return told

    run(0, 0, 0)
    calls, refused = faults.fault_count(), 0
    for at in range(1, calls + 1, step):
        for error, always in ((errno.ENOSPC, 1), (errno.ENOSPC, 0), (errno.EIO, 1), (errno.EIO, 0)):
            told = run(at, error, always)
            faults.fault_arm(b"", 0, 0, 0)
            refused += len(told.refused)
            wrong = verify(folder, told)
            if wrong:
                print(f"call {at} of {calls}, {errno.errorcode[error]}, always {always}: {wrong[:4]}; {told.refused}")
                return 1
    print(f"{calls} calls failed each in four ways, {refused} refusals, nothing lost, nothing half")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
