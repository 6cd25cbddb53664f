"""A process that teaches, removes and rebuilds until it is killed, many times; run as a script.

    python -m tests.runtime.gallery.crash FOLDER ROUNDS SEED

After each kill the gallery must hold every acknowledged entry, none whose removal was acknowledged, and of
what was under way all or nothing. Prints one line; exit code 1 where a round failed.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from sightline.runtime import Gallery, NewEntry
from sightline.runtime.gallery import caretaker, gallery, index
from tests.runtime.gallery.make import MODEL, frame, vectors

# A graph is kept from the start, so that kills also meet its file being written.
for module in (caretaker, gallery, index):
    module.SMALLEST_GRAPH = 20  # type: ignore[attr-defined]

_LONGEST_S = 0.03
_MOST_LINES = 40

Line = tuple[str, Any]


def work(folder: Path, seed: int, log: int) -> None:
    """Change the gallery until killed; every change is written to `log` before it begins and when it is done."""
    random.seed(seed)
    with Gallery.open(folder, model=MODEL) as opened:
        live = [entry.id for entry in opened.entries()]
        turn = 0
        while True:
            turn += 1
            kind = random.random()
            if kind < 0.6 or len(live) < 10:
                label = f"{seed}-{turn}"
                rows = vectors(random.randint(1, 4), seed=seed * 1000 + turn)
                _say(log, "adding", [label, len(rows)])
                ids = opened.add_many([NewEntry(label, row, frame(turn), {"turn": str(turn)}) for row in rows])
                _say(log, "added", [label, ids])
                live += ids
            elif kind < 0.9:
                gone = random.sample(live, min(3, len(live)))
                _say(log, "removing", gone)
                opened.remove(gone)
                _say(log, "removed", gone)
                live = [id for id in live if id not in gone]
            else:
                _say(log, "rebuilding", turn)
                opened.rebuild()


def verify(folder: Path, expected: set[int], lines: list[Line]) -> list[str]:
    """Compare what is there with what was acknowledged; updates `expected` to the ids that are there."""
    acknowledged = {id for word, what in lines if word == "added" for id in what[1]}
    removed = {id for word, what in lines if word == "removed" for id in what}
    pending_removal = {id for word, what in lines if word == "removing" for id in what} - removed
    done = {what[0] for word, what in lines if word == "added"}
    pending_add = [what for word, what in lines if word == "adding" and what[0] not in done]
    with Gallery.open(folder, model=MODEL, create=False) as opened:
        ids = {entry.id for entry in opened.entries()}
        wrong = list(opened.check().problems)
        wrong += [f"entry {id} is lost" for id in (expected | acknowledged) - removed - pending_removal - ids]
        wrong += [f"removed entry {id} is there" for id in removed & ids]
        if 0 < len(pending_removal & ids) < len(pending_removal):
            wrong.append(f"half of the removal {pending_removal} was done")
        for label, count in pending_add:
            if (found := len(opened.ids_of(label))) not in (0, count):
                wrong.append(f"{found} of {count} entries {label} are there")
        wrong += _search_is_right(opened, sorted(ids))
    expected.clear()
    expected.update(ids)
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
    for turn in range(rounds):
        lines = _round(folder, seed + turn)
        changes += sum(word in ("added", "removed") for word, _ in lines)
        wrong = verify(folder, expected, lines)
        if wrong:
            print(f"round {turn} (seed {seed + turn}): {wrong[:5]}; log {lines[-4:]}")
            return 1
    print(f"{rounds} kills, {changes} acknowledged changes, {len(expected)} entries, nothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
