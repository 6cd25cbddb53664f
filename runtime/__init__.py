"""What a device needs to recognise and look up: no torch, no server, no network.

bundle = Bundle.load("kiosk.bundle")
recognizer = Recognizer(bundle)
gallery = Gallery.open("shop.gallery", model=recognizer.model_id)
answer = recognizer.recognize(frame_bgr, gallery=gallery)
gallery.add("mug", answer.embedding, crop=frame_bgr, metadata={"sku": "A-17"})
"""

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
