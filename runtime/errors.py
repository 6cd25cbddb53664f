"""Every failure that is the user's to mend, as one small tree.

SightlineError
├── InputError      an image, a data set, a label list or an option that cannot be used
├── BundleError     a bundle that is missing, damaged, newer than this program or does not fit
├── GalleryError    a gallery that is missing, damaged, newer, locked or of another model
├── SourceError     a camera, stream or video file that cannot be opened or was lost
└── ProviderError   an ONNX Runtime provider that was asked for and is not to be had

The command line prints the message as one sentence and leaves with exit code 1, so a message says what was
expected, what came and what to do next.
"""


def first_line(error: BaseException) -> str:
    """Give what an error of another library says, in its first line; its class where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


class SightlineError(Exception):
    """The base of every failure that this program explains in one sentence."""


class InputError(SightlineError):
    """An image, a data set, a label list or an option cannot be used."""


class BundleError(SightlineError):
    """A bundle is missing, damaged, of a newer schema or does not fit."""


class GalleryError(SightlineError):
    """A gallery is missing, damaged, of a newer schema, locked or of another model."""


class SourceError(SightlineError):
    """A camera, stream or video file cannot be opened or was lost."""


class ProviderError(SightlineError):
    """An ONNX Runtime provider was asked for and is not to be had."""
