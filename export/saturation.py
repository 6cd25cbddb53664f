"""What an x86 CPU without VNNI makes of an int8 file: the overflow of its 16-bit sums, worked out exactly.

Without VNNI, ONNX Runtime's kernels multiply bytes by int8 weights with `vpmaddubsw`: two neighbouring products
are added into 16 bits, and a sum beyond -32,768 to 32,767 is cut off there. Later sums have 32 bits. Neighbours
are places of the flattened kernel window, channels fastest (as `im2col` of a channels-last image lays them out;
onnxruntime/core/mlas/lib/x86_64/QgemmU8X8KernelAvx2.S and ConvSymKernelAvx2.S): 0 with 1, 2 with 3, and so on.
Depthwise convolutions multiply in 32 bits there and are exact.

The error of an output is the sum over its pairs of what the cut took off. Only pairs whose weights have one sign
and together more than 128 can overflow, and only where both bytes are large: few enough to count them all.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = -(2**15), 2**15 - 1
_BYTE = 255


@dataclass(frozen=True, slots=True)
class Window:
    """How a convolution's window moves; a matrix product is a window of one place.

    Attributes:
        strides: Rows and columns.
        pads: Top, left, bottom, right.
        dilations: Rows and columns.
        groups: Channel groups.
    """

    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True, slots=True)
class Overflow:
    """What the 16-bit sums of one layer lose on one batch.

    Attributes:
        error: int32, shape (batch, channels, rows, columns): to be added to the exact 32-bit sums.
        hit: bool, the same shape: outputs with at least one sum cut off.
    """

    error: NDArray[np.int32]
    hit: NDArray[np.bool_]


class PairedWeights:
    """A layer's int8 weights as the pairs that one 16-bit sum takes."""

    def __init__(self, weight: NDArray[np.int8], window: Window | None = None) -> None:
        """Pair the weights.

        Args:
            weight: Shape (outputs, inputs a group, rows, columns) of a convolution, or (outputs, inputs).
            window: How the window moves.
        """
        self.window = window or Window()
        self._kernel = (weight.shape[2], weight.shape[3]) if weight.ndim == 4 else (1, 1)
        self._inputs = weight.shape[1]
        flat = (
            weight.reshape(len(weight), self._inputs, -1).transpose(0, 2, 1).reshape(len(weight), -1).astype(np.int32)
        )
        padded = np.pad(flat, ((0, 0), (0, flat.shape[1] % 2)))
        self._first, self._second = padded[:, 0::2], padded[:, 1::2]
        exact = self.window.groups == len(weight) and self._inputs == 1
        if exact:  # a depthwise kernel has no pairs
            self._first, self._second = self._first[:, :0], self._second[:, :0]

    @property
    def largest_sum(self) -> int:
        """The largest magnitude that any sum of two products can reach, whatever the bytes."""
        if not self._first.size:
            return 0
        above = np.maximum(self._first, 0) + np.maximum(self._second, 0)
        below = np.minimum(self._first, 0) + np.minimum(self._second, 0)
        return int(_BYTE * max(above.max(), -below.min()))

    @property
    def can_overflow(self) -> bool:
        """Whether some bytes would make a sum that 16 bits do not hold."""
        return bool(self._risky().any())

    def overflow(self, pixels: NDArray[np.uint8], zero_point: int) -> Overflow:
        """Count what is cut off.

        Args:
            pixels: uint8, shape (batch, channels, rows, columns) or (batch, inputs).
            zero_point: The byte that stands for zero, which fills the border.
        """
        planes = _Planes(pixels, zero_point, self._kernel, self.window)
        outputs, per_group = len(self._first), len(self._first) // self.window.groups
        error = np.zeros((outputs, planes.places), np.int32)
        hit = np.zeros(error.shape, np.bool_)
        risky = self._risky()
        for group in range(self.window.groups):
            own = slice(group * per_group, (group + 1) * per_group)
            for pair in np.flatnonzero(risky[own].any(axis=0)):
                rows = group * per_group + np.flatnonzero(risky[own, pair])
                self._add(planes, group, int(pair), rows, error, hit)
        shape = (outputs, *planes.shape)
        return Overflow(
            np.ascontiguousarray(error.reshape(shape).swapaxes(0, 1)),
            np.ascontiguousarray(hit.reshape(shape).swapaxes(0, 1)),
        )

    def _add(
        self,
        planes: "_Planes",
        group: int,
        pair: int,
        rows: NDArray[np.intp],
        error: NDArray[np.int32],
        hit: NDArray[np.bool_],
    ) -> None:
        one, two = (self._bytes(planes, number, group) for number in (2 * pair, 2 * pair + 1))
        first, second = self._first[rows, pair, None], self._second[rows, pair, None]
        most = max(int(np.abs(first).max()), int(np.abs(second).max()))
        # Most bytes are far too small for any overflow; only the rest is multiplied out.
        places = np.flatnonzero(one.astype(np.int32) + two > HIGHEST // most)
        if not len(places):
            return
        total = one[places].astype(np.int32) * first + two[places].astype(np.int32) * second
        lost = np.clip(total, LOWEST, HIGHEST) - total
        target = np.ix_(rows, places)
        error[target] += lost
        hit[target] |= lost != 0

    def _bytes(self, planes: "_Planes", number: int, group: int) -> NDArray[np.uint8]:
        spot, channel = divmod(number, self._inputs)
        row, column = divmod(spot, self._kernel[1])
        # The partner of the last of an odd number of weights.
        if row >= self._kernel[0]:
            return np.zeros(planes.places, np.uint8)
        return planes.at(group * self._inputs + channel, row, column)

    def _risky(self) -> NDArray[np.bool_]:
        above = np.maximum(self._first, 0) + np.maximum(self._second, 0)
        below = np.minimum(self._first, 0) + np.minimum(self._second, 0)
        return np.asarray((_BYTE * above > HIGHEST) | (_BYTE * below < LOWEST))


class _Planes:
    """What each place of the window sees, over all photos and positions at once."""

    def __init__(self, pixels: NDArray[np.uint8], zero_point: int, kernel: tuple[int, int], window: Window) -> None:
        image = pixels.reshape(*pixels.shape, *([1] * (4 - pixels.ndim)))
        top, left, bottom, right = window.pads
        self._image = np.pad(image, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=zero_point)
        self._window = window
        reach = [(size - 1) * step for size, step in zip(kernel, window.dilations, strict=True)]
        rows, columns = (
            (extent - far - 1) // stride + 1
            for extent, far, stride in zip(self._image.shape[2:], reach, window.strides, strict=True)
        )
        self.shape = (len(pixels), rows, columns)

    @property
    def places(self) -> int:
        """Photos times positions."""
        return int(np.prod(self.shape))

    def at(self, channel: int, row: int, column: int) -> NDArray[np.uint8]:
        """The bytes under one place of the window: uint8, flat."""
        spans = [
            slice(place * step, place * step + (count - 1) * stride + 1, stride)
            for place, step, count, stride in zip(
                (row, column), self._window.dilations, self.shape[1:], self._window.strides, strict=True
            )
        ]
        return self._image[:, channel, spans[0], spans[1]].reshape(-1)
