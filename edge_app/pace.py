"""How many frames a second are read: what was asked for, and less while the device is too hot.

Frames that are not due are passed over before they are decoded, and between two that are the loop sleeps: a lower rate
costs that much less. `Governor` lowers it while the device throttles itself, so that the rate and the age of the
frames stay even instead of jumping with the processor's clock.
"""

import threading
import time
from collections.abc import Callable

from .heat import Heat

LEAST_FPS = 1.0
CHECK_S = 5.0
# Halving would be felt at once; a seventh of it in half a minute is what a heat sink answers to.
_LOWER, _RAISE = 0.7, 1.25
_CALM_CHECKS = 6


class Pace:
    """When the next frame is due. One thread reads by it, others may change it.

    Args:
        asked_fps: Frames a second, or None for as many as come.

    Attributes:
        cap_fps: At most so many, for a while; None holds nothing back.
        why: Why they are held back, in words.
    """

    def __init__(self, asked_fps: float | None = None) -> None:
        self.asked_fps = asked_fps
        self.cap_fps: float | None = None
        self.why = ""
        self._due_s = float("-inf")

    @property
    def fps(self) -> float | None:
        """At most so many frames a second; None is no limit."""
        return min((one for one in (self.asked_fps, self.cap_fps) if one is not None), default=None)

    @property
    def slowed(self) -> str:
        """What holds frames back, in words; "" where nothing does."""
        return f"at most {self.cap_fps:.0f} fps: {self.why}" if self.cap_fps is not None else ""

    def wait_s(self, now_s: float) -> float:
        """How long until a frame is due; 0 when one is."""
        return max(0.0, self._due_s - now_s) if self.fps is not None else 0.0

    def taken(self, now_s: float) -> None:
        """Note that a frame was taken; the next is due a period after this one was, not after it came."""
        if self.fps is not None:
            period_s = 1 / self.fps
            self._due_s = max(self._due_s + period_s, now_s - period_s)


class Governor:
    """Lowers a pace while the device throttles, and raises it again when it has been calm for half a minute.

    Args:
        pace: What it lowers.
        heat: Looks at the device.
        frames: How many frames were read so far.
        tell: Told in a sentence when it begins and ends.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        pace: Pace,
        heat: Callable[[], Heat],
        frames: Callable[[], int],
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pace, self._heat, self._frames, self._tell, self._clock = pace, heat, frames, tell, clock
        self._calm = 0
        self._times = heat().times
        self._seen = frames(), clock()
        self._full_fps = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look every `CHECK_S` seconds on a thread of its own, until `close`."""
        self._thread = threading.Thread(target=self._work, name="sightline-governor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> None:
        """Look once, and change the pace where that is due."""
        heat, rate = self._heat(), self._rate()
        counted, self._times = self._times is not None and (heat.times or 0) > self._times, heat.times
        why = ", ".join(heat.now) or ("the processor throttled" if counted else "")
        if why:
            self._calm = 0
            self._lower(why, rate)
        elif self._pace.cap_fps is not None:
            self._calm += 1
            if self._calm % _CALM_CHECKS == 0:
                self._raise(self._pace.cap_fps)

    def _lower(self, why: str, rate: float) -> None:
        before = self._pace.cap_fps
        if before is None:
            if rate <= LEAST_FPS:
                return
            self._full_fps = rate
            self._tell(f"the device slows itself down ({why}): fewer frames are answered until it has cooled")
        self._pace.why = why
        self._pace.cap_fps = max(LEAST_FPS, _LOWER * (before if before is not None else rate))

    def _raise(self, cap_fps: float) -> None:
        if _RAISE * cap_fps < self._full_fps:
            self._pace.cap_fps = _RAISE * cap_fps
            return
        self._pace.cap_fps, self._pace.why = None, ""
        self._tell("the device has cooled: all frames are answered again")

    def _rate(self) -> float:
        """Frames a second since the last look."""
        (before, then), self._seen = self._seen, (self._frames(), self._clock())
        frames, now = self._seen
        return (frames - before) / max(now - then, 1e-3)

    def _work(self) -> None:
        while not self._ended.wait(CHECK_S):
            self.look()
