"""Where a loop stands still: what it was doing in its longest turn, and whether it had a processor.

A turn that is long because the machine ran others says nothing of the loop, so that time is told apart: the kernel
counts how long each thread waited for a processor, and a second thread that only sleeps shows how late it woke.
"""

import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

SAMPLE_S = 0.01
# The loop waits 50 ms for a frame; only what is longer is looked at.
WORTH_S = 0.06
_PLACES = _DEEP = 4


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the loop.

    Attributes:
        seconds: How long it took without the model.
        starved_s: Of those, waited for a processor.
        late_s: How much later than asked the watching thread woke meanwhile.
        places: Where the loop was found, most often first.
    """

    seconds: float = 0.0
    starved_s: float = 0.0
    late_s: float = 0.0
    places: tuple[str, ...] = ()

    @property
    def fed_s(self) -> float:
        """Seconds that no lack of a processor explains."""
        return self.seconds - max(self.starved_s, self.late_s)

    def __str__(self) -> str:
        """The turn in words."""
        found = "; ".join(self.places) or "too short for a look"
        return (
            f"{1e3 * self.seconds:.0f} ms, of these {1e3 * self.starved_s:.0f} without a processor "
            f"(the watching thread woke {1e3 * self.late_s:.0f} ms late); {found}"
        )


class Watchman:
    """Looks at the thread that calls `begin` and `end`.

    Attributes:
        longest: Its longest turn.
        longest_fed: The one that was longest without what a lack of a processor explains.
    """

    def __init__(self) -> None:
        self.longest, self.longest_fed = Turn(), Turn()
        self._thread_id = 0
        self._began_s: float | None = None
        self._began_starved_s = self._late_s = 0.0
        self._places: Counter[str] = Counter()
        self._ended = threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()

    def begin(self) -> None:
        """A turn begins."""
        self._thread_id, self._late_s = threading.get_ident(), 0.0
        self._places.clear()
        self._began_starved_s = queued_s()
        self._began_s = time.perf_counter()

    def end(self, model_s: float) -> float:
        """It ends; gives its seconds without those in the model."""
        assert self._began_s is not None
        seconds = time.perf_counter() - self._began_s - model_s
        self._began_s = None
        starved_s = queued_s() - self._began_starved_s
        places = tuple(place for place, _ in self._places.most_common(_PLACES))
        turn = Turn(seconds, starved_s, self._late_s, places)
        self.longest = max(self.longest, turn, key=lambda one: one.seconds)
        self.longest_fed = max(self.longest_fed, turn, key=lambda one: one.fed_s)
        return seconds

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        self._watching.join()

    def _watch(self) -> None:
        due_s = time.perf_counter() + SAMPLE_S
        while not self._ended.wait(SAMPLE_S):
            now = time.perf_counter()
            self._late_s += max(0.0, now - due_s)
            due_s = now + SAMPLE_S
            began_s = self._began_s
            if began_s is not None and now - began_s > WORTH_S:
                self._places[_place(self._thread_id)] += 1


def queued_s() -> float:
    """Seconds that the calling thread has waited for a processor."""
    return int(Path("/proc/thread-self/schedstat").read_bytes().split()[1]) / 1e9


def _place(thread_id: int) -> str:
    # Read from the frames themselves: `traceback` would load every source file it meets, and that is no leak to find.
    frame, calls = sys._current_frames().get(thread_id), []
    while frame is not None and len(calls) < _DEEP:
        code = frame.f_code
        calls.append(f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " < ".join(calls)
