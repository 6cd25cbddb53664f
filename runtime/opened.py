"""What every opened bundle has, whatever it is for."""

from .bundle import Bundle
from .preprocess import Image, prepare_batch
from .session import Interface, ProviderReport, Session, open_session


class OpenedModel:
    """A bundle's model in ONNX Runtime.

    Attributes:
        bundle: What it was made from.
        variant: The variant it runs.
    """

    task: str
    interface: Interface

    def __init__(
        self, bundle: Bundle, provider: str = "auto", variant: str = "auto", threads: int | None = None
    ) -> None:
        """Open the model; see `Recognizer`.

        Raises:
            BundleError: It is made for another task, or the variant does not exist or cannot be opened.
            ProviderError: The provider is not to be had.
        """
        bundle.expect(self.task)
        self.bundle = bundle
        self.variant = bundle.variant(variant)
        self._session: Session = open_session(bundle.read(self.variant.file), provider, threads, self.interface)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of its outputs, in order."""
        return self.bundle.labels

    @property
    def provider(self) -> ProviderReport:
        """What runs the model and why."""
        return self._session.provider

    @property
    def threads(self) -> int:
        """Threads within an operator."""
        return self._session.threads

    def _prepare(self, frame_bgr: Image) -> Image:
        return prepare_batch([frame_bgr], self.bundle.input_spec)
