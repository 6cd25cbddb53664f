"""The loop: take the newest frame, answer it, show and write the answer, obey.

Nothing in it waits for a camera: `Reader.take` returns within `TICK_S`. Without a frame nothing is inferred
and no label is shown or written.
"""

import time
from dataclasses import dataclass, field, replace

from sightline.runtime.preprocess import Image
from sightline.runtime.recognition import Recognition
from sightline.runtime.recognizer import Lookup
from sightline.runtime.reporter import QuietReporter, Reporter

from .connection import Frame
from .controls import Command, Lines, Order, Stop
from .journal import Journal
from .listeners import Listener, Listeners
from .objects import open_sight
from .overlay import Notice, Overlay, View
from .page import Page
from .reader import Reader, State, Status
from .recorder import Recorder, RecordingStopped
from .reload import NotReloaded, Reloader
from .sight import Answerer, Manner, Seen
from .tally import Summary, Tally
from .teach import Refused, Removed, Taught, Teacher, TeachEvent
from .window import KEYS, Prompt, Window

TICK_S = 0.05
NOTICE_S = 3.0
STILL_FPS = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """When a run ends by itself; None means never."""

    max_frames: int | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What a loop is made of.

    Attributes:
        reader: Frames.
        recognizer: Answers; None where the manner says who does.
        journal: Where answers and events are written.
        overlay: Draws what is shown and recorded.
        gallery: Where frames are looked up, or None.
        teacher: Learns what is in view, or None without a gallery.
        manner: How frames are looked at.
        recorder: Records what is shown, or None.
        window: Shows it and gives keys, or None (headless).
        lines: Orders from standard input, or None.
        reporter: Where the loop talks.
        listeners: Who else hears what the journal hears.
        reloader: Opens bundle and gallery anew, or None.
        page: Shows what the loop sees and gives orders, or None.
    """

    reader: Reader
    recognizer: Answerer | None
    journal: Journal
    overlay: Overlay
    gallery: Lookup | None = None
    teacher: Teacher | None = None
    manner: Manner = field(default_factory=Manner)
    recorder: Recorder | None = None
    window: Window | None = None
    lines: Lines | None = None
    reporter: Reporter = field(default_factory=QuietReporter)
    listeners: tuple[Listener, ...] = ()
    reloader: Reloader | None = None
    page: Page | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Shown:
    frame: Frame | None
    recognition: Recognition | None
    age_ms: float | None
    seen: Seen | None = None


class Loop:
    """Runs until the source ends, a limit is reached or somebody asks to stop.

    Args:
        parts: What it is made of.
        stop: Tells it to end.
        limits: When it ends by itself.
        teach_label: The name that `t` teaches; without a window or page it is taught once, from the first frames.
    """

    def __init__(
        self,
        parts: Parts,
        stop: Stop,
        limits: Limits | None = None,
        teach_label: str | None = None,
    ) -> None:
        self._parts, self._stop = parts, stop
        self._limits = limits or Limits()
        self._teach_label = teach_label
        self._tally = Tally()
        self._hearers = Listeners((parts.journal, *parts.listeners))
        self._recorder = parts.recorder
        self._said: Status | None = None
        self._last: _Shown = _Shown(None, None, None)
        self._due_s = 0.0
        self._sight = open_sight(parts.recognizer, parts.gallery, parts.manner, self._complain)
        self._notice: Notice | None = None
        self._notice_until_s = self._started_s = time.monotonic()
        self._prompt: Prompt | None = None
        self._paused = False

    @property
    def frames(self) -> int:
        """Frames answered so far."""
        return self._tally.frames

    def run(self) -> Summary:
        """Run to the end.

        Returns:
            What it came to; a recording and a gallery are complete when their owners close them.

        Raises:
            SourceError: The source never gave a frame, or a file failed.
        """
        if self._teach_label and self._parts.window is None and self._parts.page is None:
            self._teach(self._teach_label)
        try:
            while not self._over():
                self._tick()
        finally:
            self._end_teaching()
        return self._tally.summary()

    def _over(self) -> bool:
        limits = self._limits
        enough = limits.max_frames is not None and self._tally.frames >= limits.max_frames
        late = limits.duration_s is not None and time.monotonic() - self._started_s >= limits.duration_s
        ended = self._parts.reader.status.state is State.ENDED
        return bool(self._stop) or enough or late or ended or self._parts.journal.unread

    def _tick(self) -> None:
        self._obey()
        self._reload()
        if self._paused or self._prompt is not None:
            self._wait()
            return
        frame = self._parts.reader.take(TICK_S)
        self._tell_state()
        if frame is not None:
            self._decide(frame)
        elif not self._stop:
            self._show(self._last, decided=False)
        self._tell_teaching()

    def _decide(self, frame: Frame) -> None:
        start = time.monotonic()
        teacher = self._parts.teacher
        seen = self._sight.look(frame.image_bgr, start, in_any_case=teacher is not None and teacher.busy)
        now = time.monotonic()
        age_ms = (now - frame.taken_s) * 1e3
        self._tally.pass_by(now)
        if seen.fresh:
            self._tally.count(seen.shown.decision.known, (now - start) * 1e3, age_ms, now)
            self._hearers.decided(frame, seen, age_ms)
        else:
            self._hearers.passed(frame, age_ms)
        if seen.fresh and teacher is not None:
            teacher.offer(self._sight.lesson(frame.image_bgr), seen.recognition, self._stream_s(frame))
        self._last = _Shown(frame, seen.shown, age_ms, seen)
        self._show(self._last)
        period_s = 1 / (self._parts.reader.fps or STILL_FPS)
        self._due_s = max(self._due_s + period_s, start)

    def _stream_s(self, frame: Frame) -> float:
        reader = self._parts.reader
        return frame.taken_s if reader.source.live else frame.number / (reader.fps or STILL_FPS)

    def _show(self, shown: "_Shown", decided: bool = True) -> None:
        if self._parts.page is not None:
            self._parts.page.show(shown.frame, self._view(shown))
        if self._parts.window is None and self._recorder is None:
            return
        canvas = self._parts.overlay.draw(shown.frame.image_bgr if shown.frame else None, self._view(shown))
        if shown.frame is not None:
            self._record(canvas, decided)
        if self._parts.window is not None:
            self._parts.window.show(canvas)

    def _view(self, shown: "_Shown") -> View:
        if time.monotonic() > self._notice_until_s:
            self._notice = None
        teacher = self._parts.teacher
        return View(
            status=self._parts.reader.status,
            recognition=shown.recognition,
            fps=self._tally.fps,
            age_ms=shown.age_ms if self._parts.reader.source.live else None,
            notice=self._notice,
            prompt=self._prompt.text if self._prompt else None,
            progress=teacher.progress if teacher else None,
            keys=self._keys(),
            seen=self._sight.seen_box(shown.frame.image_bgr) if shown.frame is not None else None,
            paused=self._paused,
            slowed=self._parts.reader.pace.slowed,
            objects=shown.seen.objects if shown.seen is not None else None,
            segmentation=shown.seen.segmentation if shown.seen is not None else None,
        )

    def _keys(self) -> str:
        if self._parts.window is None:
            return ""
        teach = "t teach  ·  u undo  ·  " if self._parts.teacher else ""
        return f"{teach}space pause  ·  q quit"

    def _record(self, canvas: Image, decided: bool) -> None:
        # A file is recorded frame by frame; only a camera's silence is worth recording.
        if self._recorder is None or not (decided or self._parts.reader.source.live):
            return
        try:
            self._recorder.write(canvas, time.monotonic())
        except RecordingStopped as error:
            self._recorder = None
            self._complain(str(error))

    def _obey(self) -> None:
        for order in self._orders():
            if order.command is Command.QUIT:
                self._stop.ask("quit")
            elif order.command is Command.PAUSE:
                self._paused = not self._paused
            elif order.command is Command.UNDO:
                self._undo()
            elif order.command is Command.CANCEL:
                self._cancel()
            elif order.name or self._teach_label:
                self._teach(order.name or self._teach_label or "")
            elif self._can_teach():
                self._prompt = Prompt()

    def _orders(self) -> list[Order]:
        orders: list[Order] = []
        if self._parts.lines is not None:
            orders, complaints = self._parts.lines.poll()
            for complaint in complaints:
                self._complain(complaint)
        if self._parts.window is not None:
            for key in self._parts.window.keys(self._until_due_ms()):
                orders += self._key(key)
            if self._parts.window.closed:
                orders.append(Order(Command.QUIT))
        return orders + self._page_orders()

    def _page_orders(self) -> list[Order]:
        page = self._parts.page
        if page is None:
            return []
        for event in page.changes():
            self._tell(event)
        # A file is shown on a page as fast as it was filmed, as in a window.
        waits = self._parts.window is None and not self._parts.reader.source.live
        return page.orders(self._until_due_ms() / 1e3 if waits else 0.0)

    def _key(self, key: int) -> list[Order]:
        if self._prompt is None:
            command = KEYS.get(key)
            return [Order(command)] if command else []
        self._prompt.press(key)
        if not (self._prompt.done or self._prompt.cancelled):
            return []
        prompt, self._prompt = self._prompt, None
        return [Order(Command.TEACH, prompt.text.strip())] if prompt.done else []

    def _until_due_ms(self) -> int:
        """How long the window may wait so that a file is shown as fast as it was filmed."""
        if self._paused or self._prompt is not None:
            return 20
        if self._parts.reader.source.live:
            return 1
        return int(max(0.001, min(self._due_s - time.monotonic(), 1.0)) * 1e3)

    def _wait(self) -> None:
        """Pass a tick while paused or while a name is typed: the picture and its answer stand still."""
        if self._parts.page is not None:
            self._parts.page.show(self._last.frame, self._view(self._last))
        if self._parts.window is None:
            time.sleep(TICK_S)
            return
        if self._prompt is None:
            self._notice, self._notice_until_s = Notice("Paused", True), time.monotonic() + TICK_S
        frame = self._last.frame
        self._parts.window.show(self._parts.overlay.draw(frame.image_bgr if frame else None, self._view(self._last)))

    def _reload(self) -> None:
        parts = self._parts
        if parts.reloader is None:
            return
        fresh = parts.reloader.poll(busy=parts.teacher is not None and parts.teacher.busy)
        if isinstance(fresh, NotReloaded):
            self._complain(fresh.message)
        elif fresh is not None:
            manner = replace(parts.manner, spec=fresh.recognizer.bundle.input_spec)
            self._sight = open_sight(parts.recognizer, parts.gallery, manner, self._complain)
            parts.overlay.forget()
            self._announce("Bundle and gallery were loaded again", True)

    def _can_teach(self) -> bool:
        if self._parts.teacher is None:
            self._complain("teaching needs a gallery: start with --gallery FOLDER")
        return self._parts.teacher is not None

    def _teach(self, label: str) -> None:
        if self._can_teach() and self._parts.teacher is not None:
            self._refused(self._parts.teacher.start(label))

    def _undo(self) -> None:
        if self._can_teach() and self._parts.teacher is not None:
            self._refused(self._parts.teacher.undo())

    def _cancel(self) -> None:
        if self._parts.teacher is not None:
            self._refused(self._parts.teacher.cancel())

    def _refused(self, refused: Refused | None) -> None:
        if refused is not None:
            self._complain(refused.message)

    def _end_teaching(self) -> None:
        if self._parts.teacher is not None and (event := self._parts.teacher.finish()) is not None:
            self._tell(event)

    def _tell_teaching(self) -> None:
        if self._parts.teacher is not None and (event := self._parts.teacher.poll()) is not None:
            self._tell(event)

    def _tell(self, event: TeachEvent) -> None:
        self._hearers.teaching(event)
        if not isinstance(event, Refused):
            self._sight.gallery_changed()
        if isinstance(event, Taught):
            views = f"{len(event.ids)} view{'s' if len(event.ids) != 1 else ''}"
            self._announce(f"Learnt '{event.label}' from {views}", True)
        elif isinstance(event, Removed):
            self._parts.overlay.forget()
            if self._parts.teacher is not None:
                self._parts.teacher.forget(event.ids)
            self._announce(f"Removed '{event.label}'", True)
        else:
            self._announce(event.message, False)

    def _complain(self, message: str) -> None:
        self._hearers.error(message)
        self._announce(message, False)

    def _announce(self, text: str, good: bool) -> None:
        self._notice, self._notice_until_s = Notice(text, good), time.monotonic() + NOTICE_S
        (self._parts.reporter.say if good else self._parts.reporter.warn)(text)

    def _tell_state(self) -> None:
        status = self._parts.reader.status
        before = self._said
        if before is not None and (before.state, before.detail) == (status.state, status.detail):
            return
        self._said = status
        self._hearers.state(status)
        # A camera of 15 frames a second has none at every fourth tick: only a loss takes the answer away.
        if status.state.away:
            self._last = _Shown(self._last.frame, None, None)
            self._tally.pause()
            self._sight.away()
        if status.state in (State.STALLED, State.LOST) or status.detail:
            self._parts.reporter.warn(f"{status.state}: {status.detail}")
        elif before is not None and before.state in (State.STALLED, State.LOST):
            self._parts.reporter.say(str(status.state))
