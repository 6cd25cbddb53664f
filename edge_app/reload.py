"""A new bundle and gallery in a running loop: opened and warmed beside it, swapped between two frames."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from sightline.runtime import Gallery
from sightline.runtime.errors import SightlineError

from .controls import Wish
from .opening import Model

Part = TypeVar("Part")
_CLOSE_S = 1.0


class Handle(Generic[Part]):
    """Stands for a part that may be replaced while others hold it: what is asked of it, the current one answers.

    Args:
        current: The part at first.
    """

    def __init__(self, current: Part) -> None:
        self.current = current

    def __getattr__(self, name: str) -> object:
        return getattr(self.current, name)

    def __len__(self) -> int:
        return len(self.current)  # type: ignore[arg-type]

    def __contains__(self, item: object) -> bool:
        return item in self.current  # type: ignore[operator]

    def stand_in(self) -> Part:
        """This handle, typed as what it stands for."""
        return cast(Part, self)


@dataclass(frozen=True, slots=True)
class Opened:
    """What one opening gives."""

    recognizer: Model
    gallery: Gallery | None


@dataclass(frozen=True, slots=True)
class NotReloaded:
    """The old bundle and gallery stay, and why."""

    message: str


class Reloader:
    """Opens bundle and gallery anew when that is wished for.

    Args:
        wish: Where it is wished for; signal handlers set it.
        open: Opens both and warms the model; called on a thread.
        recognizer: What the loop asks.
        gallery: What the loop looks up in, or None.
    """

    def __init__(
        self,
        wish: Wish,
        open: Callable[[], Opened],
        recognizer: Handle[Model],
        gallery: Handle[Gallery] | None,
    ) -> None:
        self._wish, self._open, self._recognizer, self._gallery = wish, open, recognizer, gallery
        self._thread: threading.Thread | None = None
        self._result: Opened | NotReloaded | None = None

    def poll(self, busy: bool) -> Opened | NotReloaded | None:
        """Begin to open when that is wished for; swap when it is open. Returns at once.

        Args:
            busy: Something is being taught: an embedding of the old model must not reach the new gallery.

        Returns:
            What was swapped in, why nothing was, or None while there is nothing to tell.
        """
        if self._thread is None:
            if self._wish.take():
                self._thread = threading.Thread(target=self._work, name="sightline-reload", daemon=True)
                self._thread.start()
            return None
        if self._thread.is_alive() or busy:
            return None
        result, self._result, self._thread = self._result, None, None
        if isinstance(result, Opened):
            self._swap(result)
        return result

    def close(self) -> None:
        """Close what was opened and not taken, and the gallery in use."""
        if self._thread is not None:
            self._thread.join(_CLOSE_S)
        if isinstance(self._result, Opened) and self._result.gallery is not None:
            self._result.gallery.close()
        if self._gallery is not None:
            self._gallery.current.close()

    def _work(self) -> None:
        try:
            self._result = self._open()
        except (SightlineError, OSError) as error:
            self._result = NotReloaded(f"nothing was reloaded: {error}")
        except Exception as error:  # libraries fail in ways no list foresees; a silent death would look like success
            self._result = NotReloaded(f"nothing was reloaded: {type(error).__name__}: {error}")

    def _swap(self, opened: Opened) -> None:
        self._recognizer.current = opened.recognizer
        if self._gallery is not None and opened.gallery is not None:
            before, self._gallery.current = self._gallery.current, opened.gallery
            # Closing saves the graph, which may take longer than a frame.
            threading.Thread(target=before.close, name="sightline-close", daemon=True).start()
