"""Damage to every file of a gallery: flipped bits, zeroed sectors, truncation; run as a script.

    python -m tests.runtime.gallery.damage FOLDER FLIPS SECTORS TRUNCATIONS SWAPS SEED

After each, what a user sees must be the truth (compared with exact search over the true vectors) or one
GalleryError; a damaged graph must be found before it is loaded. A swapped file is one of another gallery, or of
this gallery's own past: the database's past is a state that once was the truth. Prints one line a kind.
"""

import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sightline.runtime import Gallery, GalleryError
from sightline.runtime.gallery.container import DoubtfulGraph, read_container
from tests.runtime.gallery.make import MODEL, entries, frame, graph_gallery, true_ids, vectors

_ENTRIES = 60
QUERIES = vectors(3, seed=5)

Answers = list[object]


def answers(folder: Path) -> Answers:
    """Everything a user sees; raises GalleryError where damage is found."""
    with Gallery.open(folder, model=MODEL, create=False) as gallery:
        return _seen(gallery)


def _seen(gallery: Gallery) -> Answers:
    stored = list(gallery.entries())
    matches = [gallery.match(query, 10) for query in QUERIES]
    return [stored, [gallery.crop(entry.id) for entry in stored], matches, gallery.labels()]


def flip(data: bytearray, chance: random.Random) -> None:
    """One bit."""
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def zero_sector(data: bytearray, chance: random.Random) -> None:
    """512 bytes, as a torn write leaves them."""
    start = 512 * chance.randrange(len(data) // 512 + 1)
    data[start : start + 512] = bytes(len(data[start : start + 512]))


def truncate(data: bytearray, chance: random.Random) -> None:
    """The end is missing."""
    del data[chance.randrange(len(data)) :]


def make(place: Path) -> tuple[list[Path], Path]:
    """A small gallery's past states, the last its present, and a large one with a graph."""
    folder, states = place / "small", []
    for step in range(3):
        with Gallery.open(folder, model=MODEL) as gallery:
            gallery.add_many(entries(_ENTRIES // 3, seed=step))
            gallery.add("with a picture", vectors(1, seed=50 + step)[0], crop=frame(step, 100), metadata={"n": "1"})
            gallery.calibrate(0.05, 0.7, vectors(20, seed=9))
        states.append(shutil.copytree(folder, place / f"state{step}"))
    graph_gallery(place / "large")
    return states, place / "large"


def damage_database(
    place: Path, state: Path, kind: Callable[..., None], turns: int, chance: random.Random
) -> Counter[str]:
    """Damage gallery.db `turns` times."""
    truth, original = answers(state), (state / "gallery.db").read_bytes()
    counts: Counter[str] = Counter()
    folder = place / "hurt"
    for _ in range(turns):
        data = bytearray(original)
        kind(data, chance)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "gallery.db").write_bytes(data)
        counts[_verdict(folder, [truth])] += 1
    return counts


def damage_graph(
    place: Path, large: Path, kind: Callable[..., None], turns: int, chance: random.Random
) -> Counter[str]:
    """Damage graph.bin `turns` times: nothing of it may be taken for whole."""
    original = (large / "graph.bin").read_bytes()
    counts: Counter[str] = Counter()
    for _ in range(turns):
        data = bytearray(original)
        kind(data, chance)
        (place / "graph.bin").write_bytes(data)
        try:
            read_container(place / "graph.bin")
            counts["the same" if data == original else "WRONG"] += 1
        except DoubtfulGraph:
            counts["found"] += 1
    return counts


def damage_log(place: Path, state: Path, kind: Callable[..., None], turns: int, chance: random.Random) -> Counter[str]:
    """Damage the write-ahead log of a gallery that is open, and of one whose process died.

    The open one must show the truth or a sentence. Of the other SQLite itself drops what follows the damage: it may
    also show what was true after an earlier commit, never a mixture.
    """
    counts: Counter[str] = Counter()
    folder, dead = place / "log", place / "dead"
    for turn in range(turns):
        for old in (folder, dead):
            shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(state, folder)
        with Gallery.open(folder, model=MODEL) as opened:
            truths = [_seen(opened)]
            for step in range(2):
                opened.add("late", vectors(1, seed=10 * turn + step)[0], crop=frame(step, 100))
                truths.append(_seen(opened))
            log = folder / "gallery.db-wal"
            data = bytearray(log.read_bytes())
            if not data:  # the background was quicker and has copied it back
                counts["no log"] += 1
                continue
            kind(data, chance)
            dead.mkdir()
            shutil.copy(folder / "gallery.db", dead)
            (dead / log.name).write_bytes(data)
            with log.open("r+b") as stream:
                stream.write(data)
                stream.truncate()
            counts[f"open: {_verdict(folder, truths[-1:])}"] += 1
        counts[f"dead: {_verdict(dead, truths)}"] += 1
    return counts


def swap(place: Path, states: list[Path], large: Path, turns: int, chance: random.Random) -> Counter[str]:
    """Put files of the past or of another gallery in place of the present ones."""
    truths = [answers(state) for state in states]
    other = place / "other"
    graph_gallery(other)
    rows, counts = vectors(5600), Counter[str]()
    for turn in range(turns):
        folder = place / "swapped"
        shutil.rmtree(folder, ignore_errors=True)
        if turn % 10:
            shutil.copytree(states[-1], folder)
            shutil.copy(chance.choice(states[:-1]) / "gallery.db", folder)
            shutil.copy(large / "graph.bin", folder)
            counts[_verdict(folder, truths)] += 1
            continue
        shutil.copytree(large, folder)
        shutil.copy(other / "graph.bin", folder)
        with Gallery.open(folder, model=MODEL) as gallery:
            gallery.search(QUERIES, 10)
            gallery.settle(0.2)
            right = (gallery.search(QUERIES, 10).ids == true_ids(rows, QUERIES, 10)).all()
            counts["found" if right else "WRONG"] += 1
    return counts


def _verdict(folder: Path, truths: list[Answers]) -> str:
    try:
        seen = answers(folder)
    except GalleryError:
        return "found"
    # A damaged calibration is named and left aside: then matches bear no threshold, and all else is the truth.
    return "the same" if any(_same(seen, truth) for truth in truths) else "WRONG"


def _same(seen: Answers, truth: Answers) -> bool:
    return seen == truth or _without_thresholds(seen) == _without_thresholds(truth)


def _without_thresholds(one: Answers) -> Answers:
    bare = [[(match.id, match.label, match.similarity) for match in found] for found in one[2]]  # type: ignore[attr-defined]
    return [one[0], one[1], bare, one[3]]


def main(place: Path, flips: int, sectors: int, truncations: int, swaps: int, seed: int) -> int:
    """Half of each kind goes to either file."""
    place.mkdir(parents=True, exist_ok=True)
    states, large = make(place)
    chance, wrong = random.Random(seed), 0
    for kind, turns in ((flip, flips), (zero_sector, sectors), (truncate, truncations)):
        database = damage_database(place, states[-1], kind, turns - turns // 2, chance)
        graph = damage_graph(place, large, kind, turns // 2, chance)
        log = damage_log(place, states[-1], kind, turns // 10, chance)
        print(f"{turns} of {kind.__name__}: gallery.db {dict(database)}, graph.bin {dict(graph)}", flush=True)
        print(f"{turns // 10} more in the log: {dict(log)}", flush=True)
        wrong += sum(count for part in (database, graph, log) for what, count in part.items() if "WRONG" in what)
    found = swap(place, states, large, swaps, chance)
    print(f"{swaps} swapped files: {dict(found)}")
    print("no crash, no wrong answer" if not wrong + found["WRONG"] else "WRONG ANSWERS")
    return 1 if wrong + found["WRONG"] else 0


if __name__ == "__main__":
    np.seterr(all="ignore")
    sys.exit(main(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:7])))
