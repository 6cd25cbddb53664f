"""Where training stands: what is kept so far, and `last.pt`, from which a killed run goes on."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
from torch import Tensor

from .evaluator import Score
from .run import Epoch, read_tensors, write_tensors

# Writing takes a moment of disk time, so short epochs share one; a kill loses no more than this.
_WRITE_EVERY_S = 15.0


class Best:
    """Keeps the newest weights that are as good as the best, within one standard error.

    With a few hundred evaluation photos the best epoch by figure is mostly luck; among epochs that cannot be
    told apart the last is the one the schedule has cooled down (the one-standard-error rule, Breiman 1984).
    """

    def __init__(self, photos: int) -> None:
        self.state: dict[str, Tensor] = {}
        self.epoch = 0
        self._photos = photos
        self._top1 = -1.0

    def offer(self, epoch: int, score: Score, state: Mapping[str, Tensor]) -> None:
        """Keep a copy of the weights if they are good enough."""
        self._top1 = max(self._top1, score.top1)
        if score.top1 >= self._top1 - _standard_error(self._top1, self._photos):
            self.state = {name: value.detach().clone() for name, value in state.items()}
            self.epoch = epoch

    def dump(self) -> dict[str, object]:
        """Give all that `load` needs."""
        return {"state": self.state, "epoch": self.epoch, "top1": self._top1}

    def load(self, dump: Mapping[str, object]) -> None:
        """Go on from what `dump` gave."""
        self.state = cast(dict[str, Tensor], dump["state"])
        self.epoch = cast(int, dump["epoch"])
        self._top1 = cast(float, dump["top1"])


def stalled(history: Sequence[Epoch], photos: int) -> float:
    """Give the part of the epochs of fine-tuning since the last one as good as the best of them.

    The head on frozen features (epoch 0) does not count: fine-tuning first falls behind it while the learning
    rate is high, and overtakes it as the rate falls.
    """
    scores = [epoch.val_top1 for epoch in history if epoch.epoch > 0]
    error = _standard_error(max(scores), photos)
    good = max(place for place, score in enumerate(scores) if score >= max(scores) - error)
    return (len(scores) - 1 - good) / len(scores)


def _standard_error(rate: float, photos: int) -> float:
    # Two more right and two more wrong photos (Agresti and Coull 1998): where all were right the error is not nothing.
    doubted = (rate * photos + 2) / (photos + 4)
    return math.sqrt(doubted * (1 - doubted) / photos)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long fine-tuning lasts: steps, seconds, or whichever ends first; both None means none at all."""

    steps: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of `last.pt`.

    Attributes:
        options: The options of the run, as JSON.
        spent: Seconds of fine-tuning.
        history: One entry an epoch.
        tuner: The state of the FineTuner.
        best: The dump of the Best.
    """

    options: bytes
    schedule: Schedule
    spent: float
    history: list[Epoch]
    tuner: Mapping[str, object]
    best: Mapping[str, object]


class CheckpointWriter:
    """Writes `last.pt`, not more often than is worth its time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "last.pt"
        self._written = -math.inf

    def write(self, checkpoint: Checkpoint, force: bool = False) -> None:
        """Write, unless the last one is fresh enough."""
        now = time.monotonic()
        if not force and now - self._written < _WRITE_EVERY_S:
            return
        notes = _Notes(checkpoint.options.decode(), checkpoint.schedule, checkpoint.spent, checkpoint.history)
        state = {"notes": msgspec.json.encode(notes).decode(), "tuner": checkpoint.tuner, "best": checkpoint.best}
        write_tensors(self._path, state)
        self._written = now


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Read `last.pt`; None where there is none.

    Raises:
        InputError: It is damaged.
    """
    path = folder / "last.pt"
    if not path.is_file():
        return None
    state = read_tensors(path)
    notes = msgspec.json.decode(state["notes"], type=_Notes)
    return Checkpoint(notes.options.encode(), notes.schedule, notes.spent, notes.history, state["tuner"], state["best"])


@dataclass(frozen=True, slots=True)
class _Notes:
    options: str
    schedule: Schedule
    spent: float
    history: list[Epoch]
