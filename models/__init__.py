"""Architectures, weights and the two-headed recognition model. Needs torch (`pip install sightline[export]`)."""

from .recognition import RecognitionModel, UnknownArchitectureError, build_model
from .registry import ARCHITECTURES, Architecture
from .weights import LoadedWeights, WeightsError, load_weights

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "LoadedWeights",
    "RecognitionModel",
    "UnknownArchitectureError",
    "WeightsError",
    "build_model",
    "load_weights",
]
