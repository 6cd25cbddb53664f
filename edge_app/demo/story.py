"""The whole path, stage by stage, on drawn or on the user's own photos, timed and measured.

photos -> training -> bundle -> gallery -> the loop over the clip -> score, poster, demo.json
"""

import csv
import io
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec

from sightline.runtime import Bundle, Gallery, InputError, Recognizer, read_image
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.durable import write_file
from sightline.runtime.evaluation import from_gallery
from sightline.runtime.reporter import Reporter

from ..embedding import Embedder, embed_here
from ..enrolment import enrol
from .clip import Clip, film_shop
from .own import divide, film_photos
from .poster import write_poster
from .score import ClipScore, score_clip
from .shop import KNOWN, draw_photos
from .watch import watch

_MARK = "demo.json"
# Of each class: enough photos that one more error is less than a point.
_EVALUATION_SHARE = 0.2
_FOLDERS = ("photos", "run", "bundle", "gallery")
_FILES = ("photos.csv", "clip.mp4", "annotated.mp4", "answers.jsonl", "report.html", "poster.png", _MARK)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the demo was asked for.

    Attributes:
        out: Where everything goes.
        data: The user's own photos, or None to draw a shop.
        new: The class of the user's photos that plays the new item; None chooses one.
        seed: Chance of the drawing and the training.
        quick: Fewer photos and a shorter training: shows the path, proves less.
    """

    out: Path
    data: str | None = None
    new: str | None = None
    seed: int = 0
    quick: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """How much of everything.

    Attributes:
        photos: Drawn photos of each item.
        arch: The architecture that is trained from random weights.
        image_size: Height and width of the model's input, pixels.
        epochs: Passes over the drawn photos. A number and no budget, so that a seed gives the same demo on a slow
            machine as on a fast one.
        train_s: Seconds that they take on two quiet cores, and the budget for photos of the user's own.
    """

    photos: int
    arch: str
    image_size: int
    epochs: int
    train_s: float


FULL = Settings(photos=44, arch="resnet18", image_size=64, epochs=17, train_s=85.0)
QUICK = Settings(photos=12, arch="resnet18", image_size=64, epochs=6, train_s=8.0)


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of the path and the seconds it took."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class VariantSummary:
    """One variant of the bundle: its file's size, top-1 and median latency of one inference."""

    name: str
    bytes: int
    top1: float | None
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Everything that was measured; what `demo.json` holds.

    Attributes:
        new: The item that was taught.
        labels: What the classifier was trained on.
        images: Evaluation photos, none of which was trained on.
        variants: fp32 first.
        default_variant: The one that ran.
        gate_passed: Whether int8 kept its limits.
        gate_reasons: Why, in sentences.
        gallery_entries: Entries before teaching.
        recall_at_1: Evaluation photos whose nearest gallery entry has their label, 0 to 1.
        clip: Frames counted.
        stages: What took how long.
        ok: Whether all that the demo claims held: the gate passed, and on more than half of the frames of each kind
            known items were named, and the new one, the one never taught and the empty shelf were unknown until
            the new one was taught and from then on named.
    """

    new: str
    labels: tuple[str, ...]
    images: int
    variants: tuple[VariantSummary, ...]
    default_variant: str
    gate_passed: bool
    gate_reasons: tuple[str, ...]
    gallery_entries: int
    recall_at_1: float
    clip: ClipScore
    stages: tuple[Stage, ...]
    ok: bool


class _Clock:
    """Times the stages and tells what is next and about how long all of it still takes."""

    def __init__(self, reporter: Reporter, planned: Sequence[tuple[str, float]]) -> None:
        self.stages: list[Stage] = []
        self._reporter, self._planned = reporter, list(planned)

    @contextmanager
    def stage(self) -> Iterator[None]:
        number = len(self.stages)
        name = self._planned[number][0]
        left = sum(seconds for _, seconds in self._planned[number:])
        self._reporter.say(f"[{number + 1}/{len(self._planned)}] {name} (about {left:.0f} s to the end)")
        start = time.monotonic()
        yield
        self.stages.append(Stage(name, round(time.monotonic() - start, 2)))


def run_demo(options: DemoOptions, reporter: Reporter) -> DemoResult:
    """Run the whole path.

    Returns:
        What was measured; everything else lies in `options.out`.

    Raises:
        InputError: The folder is somebody else's, or the user's photos cannot be used.
        BundleError: The exported model differs from the trained one.
    """
    out, settings = options.out, QUICK if options.quick else FULL
    # Pictures of 160 pixels gain nothing from a second thread, and on a busy machine each waits for it.
    cv2.setNumThreads(1)
    clear(out)
    clock = _Clock(reporter, _plan(settings, own=options.data is not None))
    with clock.stage():
        data, clip = _photos(options, settings, reporter)
    with clock.stage():
        train, evaluation = _train(data, options, settings, reporter)
    with clock.stage():
        bundle = _export(out, reporter)
    with clock.stage():
        recognizer = Recognizer(bundle)
        entries, recall = _build_gallery(out / "gallery", recognizer, train, evaluation, reporter)
    with clock.stage():
        score = _watch(out, clip, recognizer, reporter)
        write_poster(out / "poster.png", _samples(train), out / "annotated.mp4", clip)
    result = _result(bundle, clip, entries, recall, score, clock.stages, len(evaluation))
    write_file(out / _MARK, msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    return result


def clear(out: Path) -> None:
    """Make the folder, or empty it of an earlier demo.

    Raises:
        InputError: It holds something that is not a demo's.
    """
    try:
        present = {entry.name for entry in out.iterdir()}
    except FileNotFoundError:
        present = set()
    except OSError as error:
        raise InputError(f"--out '{out}' cannot be used as a folder: {error.strerror}") from error
    strange = sorted(present - {*_FOLDERS, *_FILES}) if _MARK in present else sorted(present)
    if strange:
        raise InputError(f"--out '{out}' holds '{strange[0]}', which no demo wrote: name a new folder")
    for name in present:
        shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
    out.mkdir(parents=True, exist_ok=True)
    # Written first, so that a demo that was interrupted can be run again in its place.
    write_file(out / _MARK, b"{}\n")


def _plan(settings: Settings, own: bool) -> list[tuple[str, float]]:
    drawing = "dividing and filming your photos" if own else "drawing a shop and filming its shelf"
    return [
        (drawing, 8.0 if own else 5.0 + 0.02 * settings.photos * len(KNOWN)),
        (f"training {settings.arch} at {settings.image_size} px from nothing", settings.train_s + 6.0),
        ("exporting: ONNX, int8, gate, thresholds, report", 25.0),
        ("building the gallery", 5.0),
        ("watching the clip, teaching the new item on the way", 10.0),
    ]


def _photos(options: DemoOptions, settings: Settings, reporter: Reporter) -> tuple[Path, Clip]:
    clip = options.out / "clip.mp4"
    if options.data is None:
        draw_photos(options.out / "photos", KNOWN, settings.photos, options.seed)
        return options.out / "photos", film_shop(clip, options.seed)
    own = divide(options.data, options.new, options.seed)
    if shortage := own.shortage(settings.photos):
        reporter.warn(shortage)
    table = options.out / "photos.csv"
    write_file(table, _as_csv(own.training))
    return table, film_photos(clip, own, options.seed)


def _as_csv(images: Sequence[LabelledImage]) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerows([("file", "label"), *((str(image.path.resolve()), image.label) for image in images)])
    return text.getvalue().encode()


def _train(
    data: Path, asked: DemoOptions, settings: Settings, reporter: Reporter
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    from sightline.export.run import load_run
    from sightline.export.train import TrainOptions, train

    run, drawn = asked.out / "run", asked.data is None
    options = TrainOptions(
        data=str(data),
        out=str(run),
        arch=settings.arch,
        weights="none",
        epochs=settings.epochs if drawn else None,
        budget_s=None if drawn else settings.train_s,
        image_size=settings.image_size,
        val_fraction=_EVALUATION_SHARE,
        seed=asked.seed,
    )
    if train(options, reporter=reporter).stopped == "interrupted":
        raise KeyboardInterrupt
    trained = load_run(run)
    return trained.train, trained.val


def _export(out: Path, reporter: Reporter) -> Bundle:
    from sightline.export.pipeline import export_bundle
    from sightline.export.source import source_from_run

    export_bundle(source_from_run(out / "run"), out / "bundle", reporter=reporter)
    shutil.copyfile(out / "bundle" / "report.html", out / "report.html")
    return Bundle.load(out / "bundle")


def _build_gallery(
    place: Path,
    recognizer: Recognizer,
    train: Sequence[LabelledImage],
    evaluation: Sequence[LabelledImage],
    reporter: Reporter,
) -> tuple[int, float]:
    with Gallery.open(place, model=recognizer.model_id) as gallery:
        enrol(gallery, embed_here(Embedder(recognizer, recognizer.threads)), train, reporter)
        answers = [recognizer.recognize(read_image(image.path), gallery) for image in evaluation]
        recall = from_gallery(answers, [image.label for image in evaluation]).recall_at_1
        return len(gallery), recall


def _watch(out: Path, clip: Clip, recognizer: Recognizer, reporter: Reporter) -> ClipScore:
    with Gallery.open(out / "gallery", model=recognizer.model_id) as gallery:
        watch(clip, recognizer, gallery, out / "annotated.mp4", out / "answers.jsonl", reporter)
    return score_clip(clip, out / "answers.jsonl", recognizer.labels)


def _samples(images: Sequence[LabelledImage]) -> list[Path]:
    """Give photos of every class in turn."""
    by_class: dict[str, list[Path]] = {}
    for image in images:
        by_class.setdefault(image.label, []).append(image.path)
    most = max(len(files) for files in by_class.values())
    return [files[row] for row in range(most) for files in by_class.values() if row < len(files)]


def _result(
    bundle: Bundle, clip: Clip, entries: int, recall: float, score: ClipScore, stages: list[Stage], images: int
) -> DemoResult:
    manifest = bundle.manifest
    gate = manifest.gate
    passed = gate is not None and gate.passed
    return DemoResult(
        new=clip.novel,
        labels=manifest.labels,
        images=images,
        variants=tuple(VariantSummary(one.name, one.bytes, one.top1, one.latency_ms) for one in manifest.variants),
        default_variant=manifest.default_variant,
        gate_passed=passed,
        gate_reasons=gate.reasons if gate is not None else (),
        gallery_entries=entries,
        recall_at_1=recall,
        clip=score,
        stages=tuple(stages),
        ok=passed and score.convinces,
    )
