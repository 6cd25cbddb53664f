"""What is kept of one frame."""

from dataclasses import dataclass

from sightline.runtime.preprocess import Image
from sightline.runtime.recognition import Decision, Match


@dataclass(frozen=True, slots=True)
class Said:
    """What was decided on a frame.

    Attributes:
        raw: What the frame alone says.
        shown: What was shown, after the votes.
        matches: The gallery's nearest entries.
        fresh_start: Whether the votes began anew with this frame.
        gap: Whether frames before it were answered and not kept.
    """

    raw: Decision
    shown: Decision
    matches: tuple[Match, ...]
    fresh_start: bool
    gap: bool


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One frame of a trace.

    Attributes:
        number: The frame's number in its run.
        at_s: When it was taken, seconds since 1970.
        bundle_id: The bundle that answered.
        prepared: What reached the model, uint8 (height, width, 3), RGB.
        picture: The whole frame, small, JPEG, for a person to look at.
        said: What was decided.
    """

    number: int
    at_s: float
    bundle_id: str
    prepared: Image
    picture: bytes
    said: Said


@dataclass(frozen=True, slots=True)
class About:
    """What a run was, as far as its decisions depend on it.

    Attributes:
        variant: Of the model.
        provider: What ran it.
        k: Matches an answer.
        votes: Frames that voted.
        source: Its name, without credentials.
        machine: What it ran on.
        versions: Of the libraries that decide.
    """

    variant: str
    provider: str
    k: int
    votes: int
    source: str
    machine: str
    versions: dict[str, str]
