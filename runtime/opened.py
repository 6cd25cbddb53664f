"""What every opened bundle has, whatever it is for."""

from .bundle import Bundle
from .manifest import Variant
from .preprocess import Image, prepare_batch
from .session import RECOGNITION, Interface, ProviderReport, Session, open_session


class OpenedModel:
    """A bundle's model in ONNX Runtime.

    Attributes:
        tasks: What its bundle may be made for.
        interface: The inputs and outputs of its graph.
        bundle: What it was made from.
        variant: The variant it runs.
    """

    tasks: tuple[str, ...]
    interface: Interface = RECOGNITION

    def __init__(
        self, bundle: Bundle, provider: str = "auto", variant: str = "auto", threads: int | None = None
    ) -> None:
        """Open the model.

        Args:
            bundle: A loaded bundle.
            provider: "auto", or a provider that must be obtained; see `providers.PROVIDERS`.
            variant: "auto" (the default that the bundle's gate chose) or a variant's name.
            threads: Threads within an operator; None takes the cores this process may use.

        Raises:
            BundleError: It is made for another task, or the variant does not exist or cannot be opened.
            ProviderError: The provider is not to be had.
        """
        bundle.expect(*self.tasks)
        self.bundle = bundle
        self.variant, self._session = self._open(provider, variant, threads)

    def _open(self, provider: str, variant: str, threads: int | None) -> tuple[Variant, Session]:
        chosen = self.bundle.variant(variant)
        return chosen, open_session(self.bundle.read(chosen.file), provider, threads, self.interface)

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
