"""What a device needs to recognise and look up: no torch, no server, no network.

bundle = Bundle.load("kiosk.bundle")
recognizer = Recognizer(bundle)
gallery = Gallery.open("shop.gallery", model=recognizer.model_id)
answer = recognizer.recognize(frame_bgr, gallery=gallery)
gallery.add("mug", answer.embedding, crop=frame_bgr, metadata={"sku": "A-17"})
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .bundle import Bundle
    from .errors import BundleError, GalleryError, InputError, ProviderError, SightlineError, SourceError
    from .gallery import CheckReport, Entry, Gallery, GalleryStats, Matches, NewEntry
    from .preprocess import InputSpec, decode_image, prepare, read_image
    from .recognition import Candidate, Decision, Latency, Match, Recognition
    from .recognizer import Recognizer

__all__ = [
    "Bundle",
    "BundleError",
    "Candidate",
    "CheckReport",
    "Decision",
    "Entry",
    "Gallery",
    "GalleryError",
    "GalleryStats",
    "InputError",
    "InputSpec",
    "Latency",
    "Match",
    "Matches",
    "NewEntry",
    "ProviderError",
    "Recognition",
    "Recognizer",
    "SightlineError",
    "SourceError",
    "decode_image",
    "prepare",
    "read_image",
]

# Imported when they are asked for: `sightline doctor` and `--help` must work where OpenCV or ONNX Runtime ends the
# process with an illegal instruction, and an error class should not cost their import.
_PLACES = {
    "Bundle": "bundle",
    "BundleError": "errors",
    "Candidate": "recognition",
    "CheckReport": "gallery",
    "Decision": "recognition",
    "Entry": "gallery",
    "Gallery": "gallery",
    "GalleryError": "errors",
    "GalleryStats": "gallery",
    "InputError": "errors",
    "InputSpec": "preprocess",
    "Latency": "recognition",
    "Match": "recognition",
    "Matches": "gallery",
    "NewEntry": "gallery",
    "ProviderError": "errors",
    "Recognition": "recognition",
    "Recognizer": "recognizer",
    "SightlineError": "errors",
    "SourceError": "errors",
    "decode_image": "preprocess",
    "prepare": "preprocess",
    "read_image": "preprocess",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = getattr(import_module(f".{_PLACES[name]}", __name__), name)
    globals()[name] = value
    return value
