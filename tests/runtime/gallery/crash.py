"""A process that teaches, removes, rebuilds, reembeds and merges until it is killed, many times; run as a script.

    python -m tests.runtime.gallery.crash FOLDER ROUNDS SEED

After each kill the gallery must hold every acknowledged entry, none whose removal was acknowledged, and of
what was under way all or nothing; all its embeddings must be of one model; a merge must have left a whole new
gallery or none. Prints one line; exit code 1 where a round failed.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.runtime import Gallery, NewEntry
from sightline.runtime.gallery import caretaker, gallery, index, merge, reembed
from sightline.runtime.preprocess import Image
from tests.runtime.gallery.make import DIM, MODEL, frame, vectors

# A graph is kept from the start, so that kills also meet its file being written.
for module in (caretaker, gallery, index):
    module.SMALLEST_GRAPH = 20  # type: ignore[attr-defined]

OTHER = "model-b"
SECOND = 5
_LONGEST_S = 0.03
_MOST_LINES = 40

Line = tuple[str, Any]


def work(folder: Path, seed: int, log: int) -> None:
    """Change the gallery until killed; every change is written to `log` before it begins and when it is done."""
    random.seed(seed)
    turn = 0
    while True:
        with _open(folder) as opened:
            live = [entry.id for entry in opened.entries()]
            model = opened.model_id
            for _ in range(random.randint(3, 12)):
                turn += 1
                live = _change(opened, live, seed, turn, log)
            _calibrate(opened, turn, log)
        if random.random() < 0.5:
            wanted = OTHER if model == MODEL else MODEL
            _say(log, "reembedding", wanted)
            reembed(folder, wanted, embed)
            _say(log, "reembedded", wanted)
        else:
            target = folder.parent / f"merged-{seed}-{turn}"
            _say(log, "merging", [target.name, len(live) + SECOND])
            merge([folder, folder.parent / f"second-{model}"], target)
            _say(log, "merged", [target.name, len(live) + SECOND])


def _change(opened: Gallery, live: list[int], seed: int, turn: int, log: int) -> list[int]:
    """One random add, remove or rebuild; gives the ids that are there then."""
    kind = random.random()
    if kind < 0.6 or len(live) < 10:
        label = f"{seed}-{turn}"
        rows = vectors(random.randint(1, 4), seed=seed * 1000 + turn)
        _say(log, "adding", [label, len(rows)])
        ids = opened.add_many([NewEntry(label, row, frame(turn), {"turn": str(turn)}) for row in rows])
        _say(log, "added", [label, ids])
        return live + ids
    if kind < 0.9:
        gone = random.sample(live, min(3, len(live)))
        _say(log, "removing", gone)
        opened.remove(gone)
        _say(log, "removed", gone)
        return [id for id in live if id not in gone]
    _say(log, "rebuilding", turn)
    opened.rebuild()
    return live


def _calibrate(opened: Gallery, turn: int, log: int) -> None:
    _say(log, "calibrating", turn)
    opened.calibrate(0.05, 0.7, vectors(20, seed=turn))
    _say(log, "calibrated", turn)


def embed(frames: list[Image]) -> NDArray[np.float32]:
    """The other model: sixteen grey levels of a picture."""
    return np.stack([frame[::10, ::10].mean(axis=2).reshape(-1)[:DIM] + 1 for frame in frames]).astype(np.float32)


def _open(folder: Path) -> Gallery:
    """Open with whatever model it holds; begin it where it is missing."""
    return Gallery.open(folder, model=None if (folder / "gallery.db").exists() else MODEL)


def _seconds(place: Path) -> None:
    """Galleries of either model to merge with."""
    for model in (MODEL, OTHER):
        with Gallery.open(place / f"second-{model}", model=model) as second:
            second.add_many([NewEntry("second", row) for row in vectors(SECOND, seed=99)])


def verify(folder: Path, expected: set[int], lines: list[Line]) -> list[str]:
    """Compare what is there with what was acknowledged; updates `expected` to the ids that are there."""
    acknowledged = {id for word, what in lines if word == "added" for id in what[1]}
    removed = {id for word, what in lines if word == "removed" for id in what}
    pending_removal = {id for word, what in lines if word == "removing" for id in what} - removed
    done = {what[0] for word, what in lines if word == "added"}
    pending_add = [what for word, what in lines if word == "adding" and what[0] not in done]
    with _open(folder) as opened:
        ids = {entry.id for entry in opened.entries()}
        wrong = list(opened.check().problems)
        wrong += [f"entry {id} is lost" for id in (expected | acknowledged) - removed - pending_removal - ids]
        wrong += [f"removed entry {id} is there" for id in removed & ids]
        if 0 < len(pending_removal & ids) < len(pending_removal):
            wrong.append(f"half of the removal {pending_removal} was done")
        for label, count in pending_add:
            if (found := len(opened.ids_of(label))) not in (0, count):
                wrong.append(f"{found} of {count} entries {label} are there")
        models = {entry.model_id for entry in opened.entries()}
        wrong += [f"embeddings of {models} in a gallery of {opened.model_id}"] if models - {opened.model_id} else []
        done_to = [what for word, what in lines if word == "reembedded"][-1:]
        if done_to and not any(word == "reembedding" for word, _ in lines[_last(lines, "reembedded") :]):
            wrong += [] if opened.model_id == done_to[0] else [f"the change to {done_to[0]} was lost"]
        if any(word == "calibrated" for word, _ in lines[_last(lines, "reembedding") :]):
            wrong += [] if opened.thresholds is not None else ["the thresholds were lost"]
        wrong += _search_is_right(opened, sorted(ids))
    wrong += _merges_are_whole(folder.parent, lines)
    expected.clear()
    expected.update(ids)
    return wrong


def _last(lines: list[Line], word: str) -> int:
    """Place of the last line with a word, or 0."""
    return max((number for number, line in enumerate(lines) if line[0] == word), default=0)


def _merges_are_whole(place: Path, lines: list[Line]) -> list[str]:
    wrong = []
    finished = {what[0] for word, what in lines if word == "merged"}
    for name, count in (what for word, what in lines if word == "merging"):
        if (place / name).exists():
            with Gallery.open(place / name, create=False) as merged:
                problems = list(merged.check().problems)
                wrong += problems + ([] if len(merged) == count else [f"{name} holds {len(merged)} of {count}"])
            shutil.rmtree(place / name)
        elif name in finished:
            wrong.append(f"{name} was merged and is gone")
    for left in place.glob(".merged-*"):
        shutil.rmtree(left)
    return wrong


def _search_is_right(opened: Gallery, ids: list[int]) -> list[str]:
    table = opened._index.table
    if table is None or not ids:
        return []
    slots, found = table.find(np.array(ids))
    if not found.all():
        return ["an entry is in the file and not in the memory"]
    nearest = opened.search(table.matrix[slots], 1)
    return [] if (nearest.similarity[:, 0] > 0.9999).all() else ["an entry does not find itself"]


def _say(log: int, word: str, what: object) -> None:
    os.write(log, (json.dumps([word, what]) + "\n").encode())


def _round(folder: Path, seed: int) -> list[Line]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            work(folder, seed, writer)
        finally:
            os._exit(3)
    os.close(writer)
    chance = random.Random(seed)
    with os.fdopen(reader, "r") as stream:
        # Killed after a number of steps and not of seconds, so that a busy machine tests as much as an idle one.
        lines = [stream.readline() for _ in range(chance.randint(1, _MOST_LINES))]
        time.sleep(chance.random() * _LONGEST_S)
        os.kill(child, signal.SIGKILL)
        lines += stream.readlines()
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        raise RuntimeError(f"the worker ended by itself after {lines[-3:]}")
    return [tuple(json.loads(line)) for line in lines if line.endswith("]\n")]


def main(folder: Path, rounds: int, seed: int) -> int:
    """Run the rounds."""
    expected: set[int] = set()
    changes = 0
    kinds: Counter[str] = Counter()
    folder.parent.mkdir(parents=True, exist_ok=True)
    _seconds(folder.parent)
    for turn in range(rounds):
        lines = _round(folder, seed + turn)
        changes += sum(word in ("added", "removed", "reembedded", "merged", "calibrated") for word, _ in lines)
        kinds[lines[-1][0] if lines else "opening"] += 1
        wrong = verify(folder, expected, lines)
        if wrong:
            print(f"round {turn} (seed {seed + turn}): {wrong[:5]}; log {lines[-4:]}")
            return 1
    print(f"{rounds} kills, {changes} acknowledged changes, {len(expected)} entries, nothing lost")
    print(f"killed after: {dict(kinds.most_common())}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
