"""The real loop over the demo's clip: recorded, written as JSON lines, and taught at the scripted frame."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sightline.runtime import Gallery, Recognition, Recognizer
from sightline.runtime.preprocess import Image
from sightline.runtime.recognizer import Lookup
from sightline.runtime.reporter import Reporter, Task

from ..controls import Command, Lines, Order, Stop
from ..journal import Journal
from ..loop import Loop, Parts
from ..overlay import Overlay, Thumbnails
from ..reader import Reader
from ..recorder import Recorder
from ..sources import parse_source
from ..tally import Summary
from ..teach import Teacher
from .clip import Clip

# While an entry is on its way to the disk the clip, read much faster than life, waits a little at each frame.
_WRITING_PAUSE_S = 0.02


class CountingRecognizer:
    """A recognizer that counts its frames and shows how far the clip is."""

    def __init__(self, recognizer: Recognizer, task: Task) -> None:
        self.frames = 0
        self._recognizer, self._task = recognizer, task

    def recognize(self, frame_bgr: Image, gallery: Lookup | None = None, k: int = 5) -> Recognition:
        """Answer one frame; see `Recognizer.recognize`."""
        self.frames += 1
        answer = self._recognizer.recognize(frame_bgr, gallery, k)
        self._task.advance(1, answer.decision.label or "unknown")
        return answer


class Script(Lines):
    """The person before the camera: presses `t` at given frames and types the name."""

    def __init__(self, teach_at: Sequence[int], label: str, counted: CountingRecognizer, teacher: Teacher) -> None:
        self._left, self._label = sorted(teach_at), label
        self._counted, self._teacher = counted, teacher

    def poll(self) -> tuple[list[Order], list[str]]:
        """Give the order that is due before the next frame."""
        if self._teacher.progress == 1.0:
            time.sleep(_WRITING_PAUSE_S)
        if not self._left or self._counted.frames < self._left[0]:
            return [], []
        self._left.pop(0)
        return [Order(Command.TEACH, self._label)], []


def watch(
    clip: Clip, recognizer: Recognizer, gallery: Gallery, record: Path, answers: Path, reporter: Reporter
) -> Summary:
    """Run the loop over a clip.

    Args:
        clip: What is filmed, and when its new item is taught.
        recognizer: What answers.
        gallery: Where frames are looked up and the new item goes.
        record: The annotated video to write.
        answers: The JSON lines to write.
        reporter: Shown progress.

    Raises:
        InputError: An output cannot be written.
        SourceError: The clip cannot be read.
    """
    with ExitStack() as stack:
        task = stack.enter_context(reporter.task("Watching the clip", clip.frames))
        counted = CountingRecognizer(recognizer, task)
        journal = stack.enter_context(Journal(str(answers)))
        reader = Reader(parse_source(str(clip.path)))
        stack.callback(reader.close)
        teacher = Teacher(gallery, clip.path.name)
        stack.callback(teacher.close)
        parts = Parts(
            reader=reader,
            recognizer=counted,
            journal=journal,
            overlay=Overlay(Thumbnails(gallery.crop)),
            gallery=gallery,
            teacher=teacher,
            recorder=stack.enter_context(Recorder(record, lambda: reader.fps, by_clock=False)),
            lines=Script(clip.teach_at, clip.novel, counted, teacher),
            reporter=reporter,
        )
        return Loop(parts, Stop()).run()
