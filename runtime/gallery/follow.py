"""What brings the memory up to what is committed, by this process or another, in the order of the commits."""

import math
import threading
import time
from pathlib import Path

from ..errors import GalleryError
from .index import SearchIndex
from .schema import damaged
from .store import Store

_SLICE = 512
_LOAD_SLICE = 4096
# What could not be read is read again after this long, then after twice as long, and so on.
_FIRST_WAIT_S = 1.0


class Follower:
    """Reads the commits of one gallery's file and applies them to what answers queries.

    Attributes:
        trouble: The last failure to read what was committed, or None; the memory goes on as it was.
    """

    def __init__(self, store: Store, index: SearchIndex, model_id: str) -> None:
        self.trouble: str | None = None
        self._store, self._index, self._model_id = store, index, model_id
        self._lock = threading.Lock()
        self._wait_s, self._again_s = _FIRST_WAIT_S, math.inf

    def load(self) -> None:
        """Read everything, at opening.

        Raises:
            GalleryError: It cannot be read, or is damaged.
        """
        self._store.changed()
        self._take_in(_LOAD_SLICE)

    def take_in_written(self) -> None:
        """Take in what was just committed; it is on the disk, so failing to read it back is no failure of it."""
        try:
            with self._lock:
                self._take_in(_SLICE)
        except GalleryError as error:
            self.trouble = str(error)
            self._store.look_again()

    def notice(self) -> None:
        """Take in what other processes committed, a slice a call; the memory goes on where that fails."""
        try:
            if time.monotonic() >= self._again_s:
                self._again_s = math.inf
                self._store.look_again()
            if not self._store.changed():
                return
            if not self._lock.acquire(blocking=False):
                self._store.look_again()
                return
            try:
                if not self._take_in(_SLICE, slices=1):
                    self._store.look_again()
                self._wait_s = _FIRST_WAIT_S
            finally:
                self._lock.release()
        except GalleryError as error:
            self.trouble = str(error)
            self._again_s = time.monotonic() + self._wait_s
            self._wait_s *= 2

    def _take_in(self, limit: int, slices: int | None = None) -> bool:
        """Bring the memory up to what is committed; False where more than `slices` of it were left."""
        index, done = self._index, 0
        while slices is None or done < slices:
            delta = self._store.delta(index.last_id, index.generation, limit)
            if delta.head.model_id != self._model_id:
                raise other_model(self._store.folder, delta.head.model_id, self._model_id)
            if delta.head.epoch != index.epoch and index.last_id:
                return self._take_in_anew()
            last = delta.added is None or len(delta.added.ids) < limit
            index.apply(delta, last)
            if last:
                if not index.agrees_with(delta):
                    raise damaged(self._store.folder, "entries are missing or were changed behind its back")
                return True
            done += 1
        return False

    def _take_in_anew(self) -> bool:
        # Every vector may have changed: all of them are read beside the old ones, which answer until then.
        fresh = SearchIndex()
        Follower(self._store, fresh, self._model_id)._take_in(_LOAD_SLICE)
        self._index.replace(fresh)
        return True


def other_model(path: Path, held: str, wanted: str) -> GalleryError:
    """Say that a gallery's embeddings are of another model than the bundle's."""
    return GalleryError(
        f"gallery '{path}' holds embeddings of model {held}, this bundle makes {wanted}: "
        f"run 'sightline gallery reembed {path} --bundle BUNDLE'"
    )
