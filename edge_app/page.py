"""What the loop needs of a page that shows it and sends it orders."""

from typing import Protocol

from .connection import Frame
from .controls import Order
from .overlay import View
from .teach import TeachEvent


class Page(Protocol):
    """A page beside the loop; every call returns at once, except that `orders` may wait as long as it is told."""

    def orders(self, wait_s: float) -> list[Order]:
        """Give what people asked for since the last call, waiting for it for at most `wait_s`."""

    def changes(self) -> list[TeachEvent]:
        """Give what the page itself removed from the gallery since the last call."""

    def show(self, frame: Frame | None, view: View) -> None:
        """Take the newest frame and what is to be said of it."""
