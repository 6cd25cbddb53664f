"""What `sightline tune` chose for a bundle on this machine, where it lies, and whether it still holds.

A choice lies beside its bundle, as `kiosk.bundle.tuned.json`, where services of other users find it too; or, where
nothing may be written there, in the user's cache folder. It holds as long as the bundle, the processor and what runs
models are those that it was measured with; a choice that does not is said and ignored, never an error.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from .bundle import Bundle
from .durable import write_file
from .errors import InputError
from .processor import Processor, this_processor
from .providers import PROVIDERS, available_providers, provider_versions

SCHEMA_VERSION = 1
_MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to run a bundle: the variant, the provider and the threads within an operator."""

    variant: str
    provider: str
    threads: int

    def __str__(self) -> str:
        return f"{self.variant} on {self.provider} with {self.threads} thread{'s' if self.threads > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a choice was measured with.

    Attributes:
        bundle_id: The bundle.
        processor: The processor, and how many of its cores were usable.
        versions: Of ONNX Runtime and of packages that bring providers.
        providers: What could be asked for.
    """

    bundle_id: str
    processor: Processor
    versions: dict[str, str]
    providers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """What one candidate showed.

    Attributes:
        choice: The candidate.
        callers: How many called it at once: 1 for a camera, the cores for a folder.
        ratio: Its time over the default's in the same turns, median.
        verdict: What came of it, in words.
        median_ms: Its median time of a picture; with several callers the time of as many pictures.
        most_ratio: Below this the ratio lies with 97.5 % confidence; None where it did not reach the final.
        golden: Golden pictures that it answered as export did; None where it was not asked.
        turns: Turns in which it was timed.
    """

    choice: Choice
    callers: int
    ratio: float | None
    verdict: str
    median_ms: float | None = None
    most_ratio: float | None = None
    golden: int | None = None
    turns: int = 0


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was chosen, and the evidence.

    Attributes:
        conditions: What it was measured with.
        measured_at: When, ISO 8601, UTC.
        default: What runs where nothing is chosen.
        one: For one picture at a time, as a camera gives them.
        many: For folders: several callers, each with one thread.
        one_ratio: The time of `one` over the default's, median.
        many_ratio: The same for `many`.
        trials: Every candidate.
        schema_version: Of this file.
    """

    conditions: Conditions
    measured_at: str
    default: Choice
    one: Choice
    many: Choice
    one_ratio: float
    many_ratio: float
    trials: tuple[Trial, ...] = ()
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Advice:
    """What a recognizer is to run.

    Attributes:
        choice: The choice that holds for it, or None.
        sentence: Where it comes from, or why one that exists does not hold; "" where there is none.
        stale: Whether there is one that does not hold.
    """

    choice: Choice | None = None
    sentence: str = ""
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A choice on the disk: its file, what it says, and why it does not hold (empty where it does)."""

    place: Path
    tuned: Tuned | None
    changes: tuple[str, ...] = field(default=())


def this_machine(bundle: Bundle) -> Conditions:
    """What a choice for this bundle would be measured with here and now."""
    return Conditions(bundle.bundle_id, this_processor(), provider_versions(), available_providers())


def advise(bundle: Bundle, threads: int | None = None) -> Advice:
    """Say what to run.

    Args:
        bundle: The bundle.
        threads: Threads that were asked for, or None.
    """
    kept = find_tuned(bundle)
    if kept is None:
        return Advice()
    if kept.tuned is None or kept.changes:
        return Advice(None, stale_sentence(bundle, kept), stale=True)
    choice = kept.tuned.one if threads is None else kept.tuned.many
    if threads not in (None, choice.threads):
        return Advice()
    return Advice(choice, f"chosen by 'sightline tune' on {kept.tuned.measured_at[:10]}")


def stale_sentence(bundle: Bundle, kept: Kept) -> str:
    """Say why a choice does not hold, and what to do."""
    why = "; ".join(kept.changes)
    return f"what 'sightline tune' chose does not hold any more ({why}): run 'sightline tune {bundle.path}' again"


def find_tuned(bundle: Bundle) -> Kept | None:
    """Find the choice for a bundle: one that holds before one that does not; None where there is none."""
    found: list[Kept] = []
    now: Conditions | None = None
    for place in _places(bundle):
        try:
            with place.open("rb") as stream:
                data = stream.read(_MOST_BYTES + 1)
        except OSError:
            continue
        now = now or this_machine(bundle)
        found.append(_judge(place, data, bundle, now))
    return next((one for one in found if not one.changes), found[0] if found else None)


def keep_tuned(bundle: Bundle, tuned: Tuned) -> Path:
    """Write a choice, durably.

    Returns:
        Where it lies.

    Raises:
        InputError: It can be written neither beside the bundle nor in the user's cache folder.
    """
    data = msgspec.json.format(msgspec.json.encode(tuned), indent=1) + b"\n"
    refusals = []
    places = _places(bundle)
    for place in places:
        try:
            if place != places[0]:
                place.parent.mkdir(parents=True, exist_ok=True)
            write_file(place, data)
            return place
        except OSError as error:
            refusals.append(f"'{place.parent}' ({error.strerror or error})")
    raise InputError(
        f"the choice cannot be kept: neither {' nor '.join(refusals)} can be written; "
        "let a user who may write beside the bundle run the command, e.g. by sudo"
    )


def forget_tuned(bundle: Bundle) -> list[Path]:
    """Remove the choices for a bundle; gives the files that were there.

    Raises:
        OSError: One could not be removed.
    """
    removed = [place for place in _places(bundle) if place.exists()]
    for place in removed:
        place.unlink()
    return removed


def _places(bundle: Bundle) -> list[Path]:
    path = bundle.path.resolve()
    places = [path.with_name(f"{path.name}.tuned.json")]
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        # A user without a home.
        return places
    if cache.is_absolute():
        places.append(cache / "sightline" / f"{bundle.bundle_id[:16]}.tuned.json")
    return places


def _judge(place: Path, data: bytes, bundle: Bundle, now: Conditions) -> Kept:
    try:
        tuned = msgspec.json.decode(data, type=Tuned)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return Kept(place, None, (f"'{place}' is damaged",))
    if tuned.schema_version != SCHEMA_VERSION:
        return Kept(place, None, (f"'{place}' is of another version of Sightline",))
    names = {variant.name for variant in bundle.manifest.variants}
    for choice in (tuned.one, tuned.many):
        if choice.variant not in names or choice.provider not in PROVIDERS or not 1 <= choice.threads <= 256:
            return Kept(place, tuned, (f"it names {choice}, which does not exist",))
    return Kept(place, tuned, _changes(tuned.conditions, now))


def _changes(then: Conditions, now: Conditions) -> tuple[str, ...]:
    found = []
    if then.bundle_id != now.bundle_id:
        found.append(f"it was measured for the bundle {then.bundle_id[:12]}, this is {now.bundle_id[:12]}")
    old, new = then.processor, now.processor
    if (old.machine, old.name, old.features) != (new.machine, new.name, new.features):
        same_name = old.name == new.name
        found.append("the processor's features changed" if same_name else f"measured on {old.name}, this is {new.name}")
    if old.cores != new.cores:
        found.append(f"{old.cores} cores were usable, now {new.cores} are")
    for package in sorted(then.versions.keys() | now.versions.keys()):
        before, after = then.versions.get(package), now.versions.get(package)
        if before != after:
            found.append(f"{package} was {before or 'not installed'}, now it is {after or 'not installed'}")
    gone, came = set(then.providers) - set(now.providers), set(now.providers) - set(then.providers)
    if gone or came:
        words = [f"{name} is gone" for name in sorted(gone)] + [f"{name} is new" for name in sorted(came)]
        found.append(f"of the providers {', '.join(words)}")
    return tuple(found)
