"""Lines of text to a file or standard output, written by a thread so that a slow disk or reader stalls nobody."""

import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from sightline.runtime.errors import InputError

from .settings import Rotation

# Half a minute of a camera at 30 frames a second.
CAPACITY = 1000
_CLOSE_S = 1.0


class LineWriter:
    """Writes lines in order, each whole.

    A disk that is full or gone for a while costs lines, not the run: they are counted in `lost`. Where nobody
    reads standard output any more (`| head`), `unread` turns true.

    Args:
        target: A file, or "-" for standard output.
        rotation: When a new file is begun.
        waits: Whether `put` waits for room (files as source: every line counts) or the line is lost (cameras:
            the loop must go on).
        ending: Tells that the run was asked to end, which ends such a wait.

    Raises:
        InputError: The file cannot be written.
    """

    def __init__(self, target: str, rotation: Rotation, waits: bool, ending: Callable[[], bool]) -> None:
        self.lost = 0
        self.unread = False
        self._target, self._rotation, self._waits, self._ending = target, rotation, waits, ending
        self._size, self._torn = 0, False
        try:
            self._stream: BinaryIO | None = self._open(rotation.append)
        except OSError as error:
            raise InputError(f"--json '{target}' cannot be written: {error.strerror}") from error
        self._lines: deque[bytes] = deque()
        self._closing, self._in_hand = False, 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="sightline-lines", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Leave a line, without its end."""
        with self._changed:
            while self._waits and len(self._lines) >= CAPACITY and not (self.unread or self._ending()):
                self._changed.wait(0.1)
            if len(self._lines) >= CAPACITY or self.unread:
                self.lost += not self.unread
                return
            self._lines.append(line)
            self._changed.notify_all()

    def close(self) -> None:
        """Write what waits and close the file.

        A reader or disk that takes nothing for a second is left; so is a slow one where the run was asked to end.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        while self._thread.is_alive():
            before = self._unwritten()
            self._thread.join(_CLOSE_S)
            left = self._unwritten()
            if self._thread.is_alive() and (left == before or self._ending()):
                self.lost += left
                return

    def _unwritten(self) -> int:
        with self._changed:
            return len(self._lines) + self._in_hand

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._closing:
                    self._changed.wait()
                batch = list(self._lines)
                self._lines.clear()
                self._in_hand = len(batch)
                self._changed.notify_all()
            if not batch:
                break
            for line in batch:
                self._write(line)
                self._in_hand -= 1
        if self._target != "-" and self._stream is not None:
            self._stream.close()

    def _write(self, line: bytes) -> None:
        if self.unread:
            return
        try:
            self._make_room(len(line) + 1)
            self._send(b"\n" + line + b"\n" if self._torn else line + b"\n")
        except BrokenPipeError:
            self.unread = True
            if self._target == "-":
                # Python flushes stdout once more when it ends and would complain then.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError:
            self.lost += 1

    def _send(self, data: bytes) -> None:
        if self._stream is None:
            self._stream = self._open(append=True)
        view = memoryview(data)
        while view:
            written = self._stream.write(view)
            if written is None:
                # A full pipe that somebody made non-blocking: to try again at once would burn a core.
                select.select([], [self._stream], [], 1.0)
                continue
            # What a full disk cut off must not swallow the line after it.
            self._torn = written < len(view)
            self._size += written
            view = view[written:]

    def _make_room(self, coming: int) -> None:
        limit = self._rotation.max_bytes
        if not limit or not self._size or not Path(self._target).is_file() or self._size + coming <= limit:
            return
        path = Path(self._target)
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        for number in range(self._rotation.keep - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number + 1}"))
        if self._rotation.keep:
            path.replace(path.with_name(f"{path.name}.1"))
        self._stream = self._open(append=False)

    def _open(self, append: bool) -> BinaryIO:
        if self._target == "-":
            sys.stdout.flush()
            return getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
        path = Path(self._target)
        # The run before this one may have been killed in the middle of a line.
        self._torn = append and _is_torn(path)
        stream = path.open("ab" if append else "wb", buffering=0)
        self._size = stream.tell() if stream.seekable() else 0
        return stream


def _is_torn(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) != b"\n"
