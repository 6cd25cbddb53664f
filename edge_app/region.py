"""Which part of a frame is looked at: the region of interest, and within it what the model sees."""

from dataclasses import dataclass

from sightline.runtime.box import Box
from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import Image, InputSpec


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in fractions of the frame, so that it holds at every resolution.

    Attributes:
        left: Of the width, 0 to 1.
        top: Of the height, 0 to 1.
        width: Of the width, above 0.
        height: Of the height, above 0.
    """

    left: float = 0.0
    top: float = 0.0
    width: float = 1.0
    height: float = 1.0

    def __post_init__(self) -> None:
        inside = 0 <= self.left < 1 and 0 <= self.top < 1 and self.left + self.width <= 1.0001
        if not (inside and self.top + self.height <= 1.0001 and min(self.width, self.height) >= 0.02):
            raise InputError(
                "--roi is left,top,width,height in fractions of the frame that lie within it, "
                f"as 0.25,0.1,0.5,0.8, not {self.left:g},{self.top:g},{self.width:g},{self.height:g}"
            )

    @classmethod
    def parse(cls, text: str) -> "Region":
        """Read `left,top,width,height`.

        Raises:
            InputError: It is no such rectangle.
        """
        try:
            left, top, width, height = (float(word) for word in text.split(","))
        except ValueError as error:
            raise InputError(
                f"--roi is four numbers, left,top,width,height, as 0.25,0.1,0.5,0.8, not {text!r}"
            ) from error
        return cls(left, top, width, height)

    def box(self, rows: int, columns: int) -> Box:
        """The rectangle in a frame of this size; never empty."""
        left, top = min(int(self.left * columns), columns - 1), min(int(self.top * rows), rows - 1)
        right = min(columns, max(left + 1, round((self.left + self.width) * columns)))
        bottom = min(rows, max(top + 1, round((self.top + self.height) * rows)))
        return Box(left, top, right, bottom)

    def of(self, frame_bgr: Image) -> Image:
        """The part of a frame, without a copy."""
        if self == _WHOLE:
            return frame_bgr
        return self.box(*frame_bgr.shape[:2]).of(frame_bgr)

    def seen(self, rows: int, columns: int, spec: InputSpec) -> Box:
        """The part that reaches the model, after the centred crop of its input."""
        box = self.box(rows, columns)
        height, width = box.bottom - box.top, box.right - box.left
        scale = min(height / spec.height, width / spec.width) * spec.crop
        inner_w, inner_h = round(spec.width * scale), round(spec.height * scale)
        left, top = box.left + (width - inner_w) // 2, box.top + (height - inner_h) // 2
        return Box(left, top, left + inner_w, top + inner_h)


_WHOLE = Region()
