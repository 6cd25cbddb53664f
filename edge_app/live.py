"""Builds the parts of a run, runs the loop over them, and closes each on every way out."""

import math
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from sightline.runtime import Gallery, InputError, Recognizer, SightlineError
from sightline.runtime.manifest import RECOGNISES
from sightline.runtime.objects import ObjectRecognizer
from sightline.runtime.reporter import QuietReporter, Reporter
from sightline.runtime.segmenter import Segmenter

from .advice import tell_advice
from .controls import Lines, Stop, Wish
from .heat import read_heat
from .journal import Journal
from .listeners import Listener
from .loop import Limits, Loop, Parts
from .opening import Model, ObjectOptions, open_finder, open_model
from .outputs.metrics import Told
from .outputs.outputs import Outputs, open_metrics, open_outputs
from .outputs.settings import OutputOptions
from .overlay import Overlay, Thumbnails
from .pace import Governor, Pace
from .reader import Patience, Reader
from .recorder import Recorder, check_recording
from .region import Region
from .reload import Handle, Opened, Reloader
from .service.supervision import Supervisor
from .sight import Manner
from .sources import Source, parse_source
from .tally import Summary, Tally
from .teach import Teacher
from .trace.tracer import Tracer, open_tracer
from .window import Window, display_problem

if TYPE_CHECKING:
    from .kiosk import Kiosk

LIVE_VOTES = 5
# At fewer answers a second than this, five votes would show a new label after half a second or more.
_VOTING_FPS = 10.0
_SYSTEM = Path("/")
CONNECT_S = Patience().connect_s


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `sightline run` was asked for.

    Attributes:
        bundle: The bundle's path.
        source: URI of the source; see `sources`.
        gallery: Path of the gallery, or None.
        k: Matches an answer.
        roi: The part of the frame that counts, "left,top,width,height" in fractions, or None.
        smooth: Frames that vote on what is shown; None takes 5 for live sources, 1 for files and low rates.
        fps: At most so many frames a second; None takes all.
        every_frame: Run the model on every frame, moving or not.
        headless: Open no window.
        kiosk: Serve the page at HOST:PORT, instead of a window; None serves none.
        json: File for JSON lines, "-" for stdout, or None.
        record: Video file to record to, or None.
        teach_label: What `t` teaches; without a window it is taught at the start.
        lines: Obey lines on standard input.
        limits: When the run ends by itself.
        connect_s: Seconds until a camera that never gave a frame is an error; None takes 10, and waits for ever
            where a page tells people of it.
        provider: What runs the model.
        variant: The variant of the model.
        threads: Threads within an operator; None takes the cores.
        outputs: Where decisions go besides `json`.
        objects: How objects are looked for, where they are.
    """

    bundle: str
    source: str = field(repr=False)
    gallery: str | None = None
    k: int = 5
    roi: str | None = None
    smooth: int | None = None
    fps: float | None = None
    every_frame: bool = False
    headless: bool = False
    kiosk: str | None = None
    json: str | None = None
    record: str | None = None
    teach_label: str | None = None
    lines: bool = False
    limits: Limits = field(default_factory=Limits)
    connect_s: float | None = None
    provider: str = "auto"
    variant: str = "auto"
    threads: int | None = None
    outputs: OutputOptions = field(default_factory=OutputOptions)
    objects: ObjectOptions = field(default_factory=ObjectOptions)


def run_live(options: RunOptions, stop: Stop, reporter: Reporter | None = None, reload: Wish | None = None) -> Summary:
    """Run until the source ends, a limit is reached or `stop` is asked for.

    Args:
        options: What to run.
        stop: Ends the run from outside (signals, another thread).
        reporter: Where the run talks.
        reload: Where somebody may ask for bundle and gallery to be opened anew.

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
    if options.kiosk is not None:
        _check_kiosk(options.kiosk)
    with ExitStack() as stack:
        supervisor = Supervisor()
        stack.callback(supervisor.close)
        source = parse_source(options.source)
        if stop:
            return Tally().summary()
        # On a slow board loading takes seconds, and who asked for the end meanwhile should not wait for more of it.
        recognizer = _open_model(options)
        tell_advice(recognizer, reporter)
        if stop:
            return Tally().summary()
        outputs = stack.enter_context(open_outputs(options.outputs, source.name, reporter.warn))
        parts = _open_parts(options, source, recognizer, outputs, stop, reload or Wish(), supervisor, reporter, stack)
        about = _about(recognizer)
        # A reload replaces it: what went on holding it would keep a second model in memory.
        del recognizer
        supervisor.ready()
        outputs.announcer.announce("started", **about)
        loop = Loop(parts, stop, options.limits, options.teach_label)
        try:
            summary = loop.run()
        except SightlineError as error:
            outputs.announcer.announce("ended", reason=str(error), frames=loop.frames)
            raise
        supervisor.stopping()
        outputs.announcer.announce("ended", reason=stop.reason or "the source ended", frames=summary.frames)
        outputs.finish()
        _say_end(summary, parts)
    if parts.journal.lost:
        raise InputError(f"{parts.journal.lost} lines could not be written to '{options.json}': is the disk full?")
    return summary


def _open_model(options: RunOptions) -> Model:
    opened = (options.provider, options.variant, options.threads)
    return open_model(options.bundle, *opened, options.objects, options.gallery)


def _about(recognizer: Model) -> dict[str, str]:
    return {
        "bundle_id": recognizer.bundle.bundle_id,
        "variant": recognizer.variant.name,
        "provider": recognizer.provider.obtained,
    }


def _open_parts(
    options: RunOptions,
    source: Source,
    recognizer: Model,
    outputs: Outputs,
    stop: Stop,
    reload: Wish,
    supervisor: Supervisor,
    reporter: Reporter,
    stack: ExitStack,
) -> Parts:
    rotation = options.outputs.rotation
    journal = stack.enter_context(Journal(options.json, rotation, waits=not source.live, ending=lambda: bool(stop)))
    window = None if options.headless or options.kiosk else _open_window(source, reporter, stack)
    teachable = window is not None or options.lines or options.teach_label is not None or options.kiosk is not None
    model, gallery, reloader = _reloadable(options, recognizer, teachable, reload)
    stack.callback(reloader.close)
    pace = Pace(options.fps)
    reader = Reader(source, Patience(connect_s=_connect_s(options)), pace=pace)
    stack.callback(reader.close)
    heat = partial(read_heat, _SYSTEM)
    if source.live:
        governor = Governor(pace, heat, lambda: reader.frames, reporter.warn)
        stack.callback(governor.close)
        governor.start()
    teacher = None
    if gallery is not None and teachable:
        teacher = Teacher(gallery, source.name)
        stack.callback(teacher.close)
    told = Told(lambda: reader.status, outputs.statuses, lambda: _size(gallery), lambda: _about(model), heat, pace)
    metrics = stack.enter_context(open_metrics(options.outputs.metrics, told, reporter.say))
    page = _open_page(options, source, model, gallery, teacher, reporter, stack)
    finder = open_finder(recognizer, options.objects, options.provider, options.threads, model)
    manner = _manner(options, source, recognizer, model, finder)
    tracer = _open_tracer(options.outputs, source, model, gallery, manner, reporter, stack)
    heard: tuple[Listener, ...] = tuple(one for one in (page, tracer) if one is not None)
    listeners = (*outputs.listeners, *metrics, supervisor, *heard)
    return Parts(
        reader=reader,
        recognizer=cast(Recognizer, model) if isinstance(recognizer, Recognizer) else None,
        journal=journal,
        overlay=Overlay(Thumbnails(partial(_crop, gallery) if gallery is not None else None)),
        gallery=gallery,
        teacher=teacher,
        manner=manner,
        recorder=_recorder(options.record, reader, stack),
        window=window,
        lines=Lines() if options.lines else None,
        reporter=reporter,
        listeners=listeners,
        reloader=reloader,
        page=page,
    )


def _connect_s(options: RunOptions) -> float:
    if options.connect_s is not None:
        return options.connect_s
    return CONNECT_S if options.kiosk is None else math.inf


def _reloadable(
    options: RunOptions, recognizer: Model, teachable: bool, reload: Wish
) -> tuple[Model, Gallery | None, Reloader]:
    """Stand-ins for model and gallery that the reloader swaps, and the reloader."""
    opened = _open_gallery(options.gallery, recognizer, teachable)
    model, gallery = Handle(recognizer), Handle(opened) if opened is not None else None

    # The type alone: what is opened again must not hold on to the first model.
    kind = type(recognizer)

    def open_again() -> Opened:
        fresh = _open_model(options)
        if type(fresh) is not kind:
            raise InputError(f"'{options.bundle}' is now made for another task: start again with it")
        spec = fresh.bundle.input_spec
        # The first pass of a session allocates: it belongs here, not into the loop.
        fresh.run(np.zeros((1, spec.height, spec.width, 3), np.uint8))
        return Opened(fresh, _open_gallery(options.gallery, fresh, create=False))

    reloader = Reloader(reload, open_again, model, gallery)
    return model.stand_in(), gallery.stand_in() if gallery is not None else None, reloader


def _check_kiosk(where: str) -> None:
    try:
        from .kiosk import parse_address
    except ModuleNotFoundError as error:
        missing = f"{error.name} is missing"
        raise InputError(f"--kiosk needs a web server: pip install 'sightline[kiosk]' ({missing})") from error
    parse_address(where)


def _open_page(
    options: RunOptions,
    source: Source,
    recognizer: Model,
    gallery: Gallery | None,
    teacher: Teacher | None,
    reporter: Reporter,
    stack: ExitStack,
) -> "Kiosk | None":
    if options.kiosk is None:
        return None
    from .kiosk import open_kiosk

    region = _region(options) if _answers_frames(options, recognizer) else None
    page = open_kiosk(options.kiosk, source, recognizer, gallery, teacher, reporter, options.teach_label, region)
    stack.callback(page.close)
    return page


def _open_tracer(
    options: OutputOptions,
    source: Source,
    recognizer: Model,
    gallery: Gallery | None,
    manner: Manner,
    reporter: Reporter,
    stack: ExitStack,
) -> Tracer | None:
    if options.trace is None:
        return None
    if manner.finder is not None or manner.segmenter is not None:
        raise InputError("--trace keeps one answer a frame, and here are several objects or areas: leave it out")
    tracer = open_tracer(
        options.trace, options.trace_bytes, source, cast(Recognizer, recognizer), gallery, manner, reporter.warn
    )
    stack.callback(tracer.close)
    return tracer


def _crop(gallery: Gallery, entry: int) -> bytes | None:
    # Asked for at each call: a reload puts another gallery behind the stand-in.
    return gallery.crop(entry)


def _size(gallery: Gallery | None) -> int | None:
    return len(gallery) if gallery is not None else None


def _manner(
    options: RunOptions, source: Source, opened: Model, model: Model, finder: ObjectRecognizer | None
) -> Manner:
    brisk = options.fps is None or options.fps >= _VOTING_FPS
    votes = options.smooth or (LIVE_VOTES if source.live and brisk else 1)
    # A file is asked for its frames, every one; a camera is asked what is there.
    gated, traced = source.live and not options.every_frame, options.outputs.trace is not None
    segmenter = cast(Segmenter, model) if isinstance(opened, Segmenter) else None
    return Manner(options.k, _region(options), votes, gated, traced, opened.bundle.input_spec, finder, segmenter)


def _answers_frames(options: RunOptions, recognizer: Model) -> bool:
    """Whether an answer is of a whole frame, and not of an object or a place in it."""
    return recognizer.bundle.manifest.task in RECOGNISES and options.objects.detector is None


def _region(options: RunOptions) -> Region:
    return Region.parse(options.roi) if options.roi is not None else Region()


def _open_window(source: Source, reporter: Reporter, stack: ExitStack) -> Window | None:
    problem = display_problem()
    if problem is not None:
        reporter.warn(f"no window: {problem}; the run goes on without one (--headless says so at once)")
        return None
    window = Window(f"Sightline: {source.name}")
    stack.callback(window.close)
    return window


def _open_gallery(path: str | None, recognizer: Model, create: bool) -> Gallery | None:
    if path is None or not isinstance(recognizer, Recognizer):
        return None
    return Gallery.open(path, model=recognizer.model_id, create=create)


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
