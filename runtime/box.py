"""A rectangle of a frame."""

from dataclasses import dataclass

from .preprocess import Image


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels: rows `top` to `bottom`, columns `left` to `right`, ends excluded."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def area(self) -> int:
        """Pixels."""
        return self.width * self.height

    def of(self, frame_bgr: Image) -> Image:
        """The part of a frame, without a copy."""
        return frame_bgr[self.top : self.bottom, self.left : self.right]

    def moved(self, right: int, down: int) -> "Box":
        """The same rectangle elsewhere."""
        return Box(self.left + right, self.top + down, self.right + right, self.bottom + down)

    def overlap(self, other: "Box") -> float:
        """Intersection over union, 0 to 1."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        shared = max(0, width) * max(0, height)
        return shared / (self.area + other.area - shared) if shared else 0.0
