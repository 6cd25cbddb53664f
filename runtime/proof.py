"""Whether this machine gives the answers that export measured, whatever a bundle is made for."""

from .bundle import Bundle
from .detector import Detector
from .golden import GoldenResult, check_golden
from .golden_pixels import check_detector, check_segmenter
from .manifest import DETECTION, SEGMENTATION, WORDS
from .recognizer import Recognizer
from .segmenter import Segmenter
from .words import Words, check_words


def check_answers(bundle: Bundle, provider: str, variant: str, threads: int | None) -> GoldenResult:
    """Answer the golden cases of a variant and compare.

    Raises:
        BundleError: The bundle cannot be opened or holds no golden cases.
        ProviderError: The provider is not to be had.
        InputError: A package that it needs is not installed.
    """
    task = bundle.manifest.task
    if task == DETECTION:
        return check_detector(Detector(bundle, provider, variant, threads))
    if task == SEGMENTATION:
        return check_segmenter(Segmenter(bundle, provider, variant, threads))
    if task == WORDS:
        return check_words(Words(bundle, provider, variant, threads))
    return check_golden(Recognizer(bundle, provider, variant, threads))
