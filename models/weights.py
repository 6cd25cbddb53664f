"""Weights for a recognition model: from a file, from torchvision, or none.

A file is a torchvision state dict (its own key names), read without unpickling. What a file leaves open is
said in the returned `LoadedWeights`, never passed over.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from .recognition import RecognitionModel

# Counters of batch norm, absent from older files and without effect on the function.
_COUNTERS = "num_batches_tracked"


class WeightsError(ValueError):
    """Weights cannot be had or do not fit; the message says what to do."""


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """What loading did.

    Attributes:
        source: The file, or the name of torchvision's weights, or "none".
        head_loaded: Whether the classifier came from the file.
        missing: Entries of the trunk that the source lacks and that keep their random start.
        note: The same in one sentence for a person.
    """

    source: str
    head_loaded: bool
    missing: tuple[str, ...]
    note: str


def load_weights(model: RecognitionModel, weights: str) -> LoadedWeights:
    """Fill a model.

    Args:
        model: The model; changed in place.
        weights: A file, "imagenet" (torchvision's own, downloaded once and checked by its hash) or "none".

    Raises:
        WeightsError: The file is missing, no state dict, or of another architecture; or there is no network.
    """
    if weights == "none":
        return LoadedWeights("none", False, (), "random weights")
    if weights == "imagenet":
        return _fill(model, _imagenet(model), str(model.architecture.weights))
    return _fill(model, read_state(Path(weights), "'imagenet' or 'none'"), weights)


def _imagenet(model: RecognitionModel) -> Mapping[str, Tensor]:
    entry = model.architecture.weights
    if entry is None:
        raise WeightsError(
            f"nobody publishes ImageNet weights of {model.architecture.name}: start from --weights none, or give a "
            f"file of your own with --weights FILE"
        )
    return download_state(entry, f"ImageNet weights of {model.architecture.name}", ", or start from --weights none")


def download_state(entry: Any, what: str, otherwise: str = "") -> Mapping[str, Tensor]:
    """Give torchvision's published weights, downloaded once and checked by their hash.

    Args:
        entry: A member of a torchvision `WeightsEnum`.
        what: What the message calls them.
        otherwise: What else the message proposes.

    Raises:
        WeightsError: They are not on this machine and cannot be downloaded, or the download is damaged.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        state: Mapping[str, Tensor] = entry.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError) as error:
        name = entry.url.rsplit("/", 1)[-1]
        raise WeightsError(
            f"{what} are not on this machine and cannot be downloaded ({getattr(error, 'reason', error)}): fetch "
            f"{entry.url} elsewhere and put it at {folder / name}, or give the file with --weights FILE{otherwise}"
        ) from error
    except RuntimeError as error:
        raise WeightsError(f"the download of {entry.url} is damaged ({error}): delete it and try again") from error
    return state


def read_state(path: Path, otherwise: str) -> Mapping[str, Tensor]:
    """Read a state dict without unpickling.

    Args:
        path: The file.
        otherwise: What else the message says could be named.

    Raises:
        WeightsError: It is missing or no state dict.
    """
    if not path.is_file():
        raise WeightsError(f"weights '{path}' do not exist: expected a torchvision state dict, {otherwise}")
    state = read_saved(path, "a file of tensors saved by torch")
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"weights '{path}' hold no state dict: expected tensors by torchvision's key names")
    return state


def read_saved(path: Path, expected: str) -> dict[str, Any]:
    """Read a dictionary that torch saved, without unpickling code.

    Args:
        path: The file.
        expected: What the message says it should have been.

    Raises:
        WeightsError: It is missing, damaged or something else.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch answers damaged bytes with whatever its unpickler trips over
        raise WeightsError(f"'{path}' cannot be read: expected {expected}") from error
    if not isinstance(saved, Mapping):
        raise WeightsError(f"'{path}' is no state dict: expected {expected}")
    return dict(saved)


def _fill(model: RecognitionModel, state: Mapping[str, Tensor], source: str) -> LoadedWeights:
    if model.architecture.resize is not None:
        state = model.architecture.resize(state, model.image_size)
    prefix = f"{model.architecture.head}."
    left_out = (prefix, *(f"{name}." for name in model.architecture.auxiliary))
    trunk = {key: value.float() for key, value in state.items() if not key.startswith(left_out)}
    head = {key.removeprefix(prefix): value.float() for key, value in state.items() if key.startswith(prefix)}
    wanted = {key: value for key, value in model.trunk.state_dict().items() if _COUNTERS not in key}
    given = {key: value for key, value in trunk.items() if _COUNTERS not in key}
    fitting = {key for key, value in given.items() if key in wanted and wanted[key].shape == value.shape}
    if fitting != set(given) or len(fitting) < len(wanted) / 2:
        raise WeightsError(
            f"weights '{source}' are not of {model.architecture.name}: {len(fitting)} of its {len(wanted)} trunk "
            f"entries fit, {len(given) - len(fitting)} of the file's do not; name the right one with --arch"
        )
    model.trunk.load_state_dict({key: given[key] for key in fitting}, strict=False)
    missing = tuple(sorted(set(wanted) - fitting))
    head_loaded = _fill_head(model, head)
    return LoadedWeights(source, head_loaded, missing, _note(source, head_loaded, head, model.classes, missing))


def _fill_head(model: RecognitionModel, head: Mapping[str, Tensor]) -> bool:
    own = model.classifier.state_dict()
    fitting = {key: value for key, value in head.items() if key in own and own[key].shape == value.shape}
    model.classifier.load_state_dict(fitting, strict=False)
    return bool(own) and set(fitting) == set(own)


def _note(source: str, head_loaded: bool, head: Mapping[str, Tensor], classes: int, missing: tuple[str, ...]) -> str:
    parts = [f"weights {source}"]
    if not head_loaded:
        outputs = [len(value) for key, value in head.items() if key.endswith("bias")]
        had = f"has {outputs[-1]} outputs" if outputs else "has no classifier"
        parts.append(f"its head {had}, replaced by one of {classes}")
    if missing:
        parts.append(f"{len(missing)} entries are missing and start random ({missing[0]} ...)")
    return "; ".join(parts)
