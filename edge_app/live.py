"""Builds the parts of a run, runs the loop over them, and closes each on every way out."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from sightline.runtime import Bundle, Gallery, InputError, InputSpec, Recognizer
from sightline.runtime.reporter import QuietReporter, Reporter

from .controls import Lines, Stop
from .journal import Journal
from .loop import Limits, Loop, Parts
from .overlay import Overlay, Thumbnails
from .reader import Patience, Reader
from .recorder import Recorder, check_recording
from .region import Region
from .sight import Manner
from .sources import Source, parse_source
from .tally import Summary
from .teach import Teacher
from .window import Window, display_problem

LIVE_VOTES = 5


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `sightline run` was asked for.

    Attributes:
        bundle: The bundle's path.
        source: URI of the source; see `sources`.
        gallery: Path of the gallery, or None.
        k: Matches an answer.
        roi: The part of the frame that counts, "left,top,width,height" in fractions, or None.
        smooth: Frames that vote on what is shown; None takes 5 for live sources and 1 for files.
        every_frame: Run the model on every frame, moving or not.
        headless: Open no window.
        json: File for JSON lines, "-" for stdout, or None.
        record: Video file to record to, or None.
        teach_label: What `t` teaches; without a window it is taught at the start.
        lines: Obey lines on standard input.
        limits: When the run ends by itself.
        connect_s: Seconds until a source that never gave a frame is an error.
        provider: What runs the model.
        variant: The variant of the model.
        threads: Threads within an operator; None takes the cores.
    """

    bundle: str
    source: str
    gallery: str | None = None
    k: int = 5
    roi: str | None = None
    smooth: int | None = None
    every_frame: bool = False
    headless: bool = False
    json: str | None = None
    record: str | None = None
    teach_label: str | None = None
    lines: bool = False
    limits: Limits = field(default_factory=Limits)
    connect_s: float = 10.0
    provider: str = "auto"
    variant: str = "auto"
    threads: int | None = None


def run_live(options: RunOptions, stop: Stop, reporter: Reporter | None = None) -> Summary:
    """Run until the source ends, a limit is reached or `stop` is asked for.

    Args:
        options: What to run.
        stop: Ends the run from outside (signals, another thread).
        reporter: Where the run talks.

    Returns:
        What the run came to.

    Raises:
        InputError: An option cannot be used, or an output could not be finished.
        BundleError: The bundle cannot be used.
        GalleryError: The gallery cannot be used.
        SourceError: The source is not there, or a file failed.
    """
    reporter = reporter or QuietReporter()
    if options.record is not None:
        check_recording(Path(options.record))
    if options.teach_label is not None and options.gallery is None:
        raise InputError("teaching needs a gallery: add --gallery FOLDER")
    source = parse_source(options.source)
    recognizer = Recognizer(Bundle.load(options.bundle), options.provider, options.variant, options.threads)
    with ExitStack() as stack:
        parts = _open_parts(options, source, recognizer, reporter, stack)
        summary = Loop(parts, stop, options.limits, options.teach_label).run()
        _say_end(summary, parts)
    if parts.journal.lost:
        raise InputError(f"{parts.journal.lost} lines could not be written to '{options.json}': is the disk full?")
    return summary


def _open_parts(
    options: RunOptions, source: Source, recognizer: Recognizer, reporter: Reporter, stack: ExitStack
) -> Parts:
    journal = stack.enter_context(Journal(options.json))
    window = None if options.headless else _open_window(source, reporter, stack)
    teachable = window is not None or options.lines or options.teach_label is not None
    gallery = _open_gallery(options.gallery, recognizer.model_id, teachable, stack)
    reader = Reader(source, Patience(connect_s=options.connect_s))
    stack.callback(reader.close)
    teacher = None
    if gallery is not None and teachable:
        teacher = Teacher(gallery, source.name)
        stack.callback(teacher.close)
    return Parts(
        reader=reader,
        recognizer=recognizer,
        journal=journal,
        overlay=Overlay(Thumbnails(gallery.crop if gallery is not None else None)),
        gallery=gallery,
        teacher=teacher,
        manner=_manner(options, source, recognizer.bundle.input_spec),
        recorder=_recorder(options.record, reader, stack),
        window=window,
        lines=Lines() if options.lines else None,
        reporter=reporter,
    )


def _manner(options: RunOptions, source: Source, spec: InputSpec) -> Manner:
    region = Region.parse(options.roi) if options.roi is not None else Region()
    votes = options.smooth or (LIVE_VOTES if source.live else 1)
    # A file is asked for its frames, every one; a camera is asked what is there.
    return Manner(options.k, region, votes, source.live and not options.every_frame, spec)


def _open_window(source: Source, reporter: Reporter, stack: ExitStack) -> Window | None:
    problem = display_problem()
    if problem is not None:
        reporter.warn(f"no window: {problem}; the run goes on without one (--headless says so at once)")
        return None
    window = Window(f"Sightline: {source.name}")
    stack.callback(window.close)
    return window


def _open_gallery(path: str | None, model_id: str, teachable: bool, stack: ExitStack) -> Gallery | None:
    if path is None:
        return None
    return stack.enter_context(Gallery.open(path, model=model_id, create=teachable))


def _recorder(path: str | None, reader: Reader, stack: ExitStack) -> Recorder | None:
    if path is None:
        return None
    return stack.enter_context(Recorder(path, lambda: reader.fps, by_clock=reader.source.live))


def _say_end(summary: Summary, parts: Parts) -> None:
    status = parts.reader.status
    lost = f"; {status.damaged} frames could not be decoded" if status.damaged else ""
    again = f"; opened {status.attempts} times" if status.attempts > 1 else ""
    still = f"; nothing moved in {summary.still} more" if summary.still else ""
    passed = f"; {status.dropped} older frames passed over" if status.dropped else ""
    parts.reporter.say(f"{summary.sentence()}{still}{passed}{lost}{again}")
