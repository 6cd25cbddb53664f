"""Names the pixels of frames: one pass of a segmentation net, whose graph gives a label for each pixel."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from .manifest import SEGMENTATION
from .opened import OpenedModel
from .preprocess import Image
from .recognition import Latency
from .session import Interface

LABEL_MAP = Interface(("image",), ("classes",))
# What stands for no object: no area of it is named or coloured.
BACKGROUNDS = frozenset({"background", "__background__"})


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """What a frame shows where.

    Attributes:
        classes: uint8, shape (rows, columns) of the net's map: the number of each pixel's label; the map covers what
            the model sees of the frame, which is all of it.
        labels: By number.
        latency: Where the time went.
    """

    classes: NDArray[np.uint8]
    labels: tuple[str, ...]
    latency: Latency

    def areas(self) -> dict[str, float]:
        """The share of the frame that each label has, the largest first; labels without a pixel are left out."""
        counts = np.bincount(self.classes.ravel(), minlength=len(self.labels)) / max(1, self.classes.size)
        order = np.argsort(-counts, kind="stable")
        return {self.labels[one]: float(counts[one]) for one in order if counts[one] > 0}


class Segmenter(OpenedModel):
    """A segmentation bundle made ready to look. Safe to use from several threads."""

    tasks = (SEGMENTATION,)
    interface = LABEL_MAP

    def segment(self, frame_bgr: Image) -> Segmentation:
        """Give each pixel of a frame a label.

        Args:
            frame_bgr: uint8, shape (height, width, 3), BGR as OpenCV gives it.

        Raises:
            InputError: The array is no frame.
        """
        start = perf_counter()
        image = self._prepare(frame_bgr)
        prepared = perf_counter()
        classes = self.run(image)[0]
        done = perf_counter()
        return Segmentation(classes, self.labels, Latency((prepared - start) * 1e3, (done - prepared) * 1e3, 0.0))

    def run(self, images: Image) -> NDArray[np.uint8]:
        """Run prepared images, uint8 (batch, height, width, 3) RGB; uint8 (batch, rows, columns) of label numbers."""
        (classes,) = self._session.fetch({"image": images})
        return np.asarray(classes, np.uint8)
