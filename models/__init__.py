"""Architectures, weights and the two-headed recognition model. Needs torch (`pip install sightline[export]`)."""

from .architecture import Architecture, UnknownArchitectureError
from .recognition import RecognitionModel, build_model
from .registry import ARCHITECTURES, find_architecture
from .size import NetworkSize, measure_size
from .weights import LoadedWeights, WeightsError, load_weights

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "LoadedWeights",
    "NetworkSize",
    "RecognitionModel",
    "UnknownArchitectureError",
    "WeightsError",
    "build_model",
    "find_architecture",
    "load_weights",
    "measure_size",
]
