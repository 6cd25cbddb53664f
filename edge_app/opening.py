"""Opens what a command looks at frames with: a bundle by what it is made for, and a detector in front of it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import click

from sightline.runtime import Bundle, InputError, Recognizer
from sightline.runtime.detector import Detector
from sightline.runtime.manifest import DETECTION, SEGMENTATION
from sightline.runtime.objects import CropRules, ObjectRecognizer
from sightline.runtime.segmenter import Segmenter

Model: TypeAlias = Recognizer | Detector | Segmenter
_RULES = CropRules()


@dataclass(frozen=True, slots=True)
class ObjectOptions:
    """How objects are looked for.

    Attributes:
        detector: The bundle that finds them in front of a recognizer, or None.
        min_score: Boxes of at most this score are left out; None takes the bundle's.
        find: The detector's labels that are looked for; empty means all.
        max_objects: See `CropRules.most`.
        min_object: See `CropRules.least`.
        padding: See `CropRules.padding`.
    """

    detector: str | None = None
    min_score: float | None = None
    find: tuple[str, ...] = ()
    max_objects: int = _RULES.most
    min_object: float = _RULES.least
    padding: float = _RULES.padding


def object_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --detector and what belongs to it; the command gets them as one argument, `objects`."""

    @functools.wraps(command)
    def gathered(**given: Any) -> Any:
        objects = ObjectOptions(**{one.name: given.pop(one.name) for one in fields(ObjectOptions)})
        return command(objects=objects, **given)

    decorated: Callable[..., Any] = gathered
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def open_model(
    path: str, provider: str, variant: str, threads: int | None, objects: ObjectOptions, gallery: str | None
) -> Model:
    """Open a bundle that recognises, finds objects or names pixels.

    Raises:
        BundleError: It cannot be used.
        ProviderError: The provider is not to be had.
        InputError: The options ask for what such a bundle does not do.
    """
    bundle = Bundle.load(path)
    task = bundle.manifest.task
    if task not in (DETECTION, SEGMENTATION):
        return Recognizer(bundle, provider, variant, threads)
    for option, value in (("--gallery", gallery), ("--detector", objects.detector)):
        if value is not None:
            raise InputError(
                f"{option} needs a bundle that recognises, and '{path}' is made for {task}: name one that does first"
                + (f", and this one with --detector {path}" if task == DETECTION else "")
            )
    if task == SEGMENTATION:
        return Segmenter(bundle, provider, variant, threads)
    return Detector(bundle, provider, variant, threads, objects.min_score, objects.find)


def open_finder(
    opened: Model, objects: ObjectOptions, provider: str, threads: int | None, model: Any = None
) -> ObjectRecognizer | None:
    """Give what finds objects and answers each, or None where whole frames are looked at.

    Args:
        opened: What `open_model` gave.
        objects: The options.
        provider: What runs the detector.
        threads: Threads within an operator.
        model: What stands for `opened`, where that may be replaced; None takes itself.

    Raises:
        BundleError: The detector's bundle cannot be used.
        InputError: The detector lacks a label, or a rule is out of range.
    """
    rules = CropRules(objects.padding, objects.min_object, objects.max_objects)
    if isinstance(opened, Detector):
        return ObjectRecognizer(model if model is not None else opened, None, rules)
    if objects.detector is None:
        return None
    bundle = Bundle.load(objects.detector)
    detector = Detector(bundle, provider, "auto", threads, objects.min_score, objects.find)
    assert isinstance(opened, Recognizer)
    return ObjectRecognizer(detector, model if model is not None else opened, rules)


_OPTIONS = (
    click.option("--detector", type=click.Path(), metavar="BUNDLE", help="Find objects with this and answer each."),
    click.option("--min-score", type=click.FloatRange(0, 1), help="Least score of an object [default: the bundle's]."),
    click.option("--find", multiple=True, metavar="LABEL", help="Find only what the detector calls this; repeat it."),
    click.option(
        "--max-objects",
        type=click.IntRange(1, 100),
        default=_RULES.most,
        show_default=True,
        help="Objects of a frame, the largest and most central.",
    ),
    click.option(
        "--min-object",
        type=click.FloatRange(0, 1),
        default=_RULES.least,
        show_default=True,
        help="Longer side of an object at least, part of the frame's shorter side.",
    ),
    click.option(
        "--padding",
        type=click.FloatRange(0, 2),
        default=_RULES.padding,
        show_default=True,
        help="What is shown around an object, part of its size.",
    ),
)
