"""Texts into the space of a gallery: the text encoder of a pair whose image encoder made it.

Needs Hugging Face's `tokenizers` (extra `words`), which reads the tokenizer's own file: nothing is downloaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .bundle import Bundle
from .errors import BundleError, InputError, first_line
from .golden import GOLDEN_NAME, GoldenResult
from .manifest import WORDS, TextInput
from .session import Interface, ProviderReport, open_session

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LEAST_COSINE = 0.9999


@dataclass(frozen=True, slots=True)
class GoldenText:
    """A text with the tokens and the embedding that export made of it."""

    text: str
    tokens: tuple[int, ...]
    embedding: tuple[float, ...]


class Words:
    """A text encoder made ready.

    Attributes:
        bundle: What it was made from.
        variant: The variant it runs.
    """

    def __init__(
        self, bundle: Bundle, provider: str = "auto", variant: str = "auto", threads: int | None = None
    ) -> None:
        """Open the encoder and its tokenizer; see `Recognizer`.

        Raises:
            BundleError: It is no bundle of words, or cannot be opened.
            InputError: `tokenizers` is not installed.
            ProviderError: The provider is not to be had.
        """
        bundle.expect(WORDS)
        self.bundle = bundle
        self.variant = bundle.variant(variant)
        assert bundle.manifest.text is not None
        self._input = bundle.manifest.text
        self._tokenizer = read_tokenizer(bundle.read(self._input.tokenizer), str(bundle.path))
        fit_tokenizer(self._tokenizer, self._input)
        model = bundle.read(self.variant.file)
        self._session = open_session(model, provider, threads, text_interface(self._input))

    @property
    def model_id(self) -> str:
        """The embedding space of its texts: that of the image encoder it belongs to."""
        return self.bundle.model_id

    @property
    def provider(self) -> ProviderReport:
        """What runs the model and why."""
        return self._session.provider

    def tokens(self, text: str) -> tuple[int, ...]:
        """Give a text's tokens by number, padding left out."""
        encoded = self._tokenizer.encode(text)
        pairs = zip(encoded.ids, encoded.attention_mask, strict=True)
        return tuple(token for token, real in pairs if real)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: float32, shape (texts, dim), unit length.

        Raises:
            InputError: A text is empty.
        """
        blank = next((text for text in texts if not text.strip()), None)
        if blank is not None:
            raise InputError("a text to search by is empty: say what is to be found")
        return embed_texts(texts, self._tokenizer, self._session.fetch, self._input)


def text_interface(text: TextInput) -> Interface:
    """Give the names that an encoder's file has."""
    return Interface((text.ids, text.mask) if text.mask is not None else (text.ids,), (text.output,))


def embed_texts(texts: Sequence[str], tokenizer: "Tokenizer", run: Any, text: TextInput) -> NDArray[np.float32]:
    """Embed texts one by one.

    Args:
        texts: None of them empty.
        tokenizer: Fitted, see `fit_tokenizer`.
        run: Takes the inputs by name and gives a list with the output.
        text: What the encoder takes.

    Returns:
        float32, shape (texts, dim), unit length.
    """
    rows = []
    for one in texts:
        encoded = tokenizer.encode(one)
        feed = {text.ids: np.asarray([encoded.ids], text.integers)}
        if text.mask is not None:
            feed[text.mask] = np.asarray([encoded.attention_mask], text.integers)
        rows.append(np.asarray(run(feed)[0], np.float32).reshape(-1))
    found = np.stack(rows)
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), np.float32)


def read_tokenizer(data: bytes, name: str) -> "Tokenizer":
    """Read a `tokenizer.json`.

    Args:
        data: Its bytes.
        name: What messages call it.

    Raises:
        InputError: `tokenizers` is not installed.
        BundleError: It is none.
    """
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise InputError("texts need a tokenizer: pip install 'sightline[words]' (tokenizers is missing)") from error
    try:
        return Tokenizer.from_buffer(data)
    # The library answers damage with bare exceptions of its Rust part.
    except Exception as error:
        raise BundleError(f"the tokenizer of '{name}' cannot be read: {first_line(error)}") from error


def fit_tokenizer(tokenizer: "Tokenizer", text: TextInput) -> None:
    """Let a tokenizer cut, and pad where the encoder takes one length only."""
    tokenizer.enable_truncation(text.length)
    if text.fixed:
        tokenizer.enable_padding(length=text.length, pad_id=text.pad, pad_token=tokenizer.id_to_token(text.pad) or "")
    else:
        tokenizer.no_padding()


def check_words(words: Words) -> GoldenResult:
    """Embed a bundle's golden texts and compare with what export measured.

    Raises:
        BundleError: The bundle holds no golden texts or they cannot be read.
    """
    try:
        cases = msgspec.json.decode(words.bundle.read(GOLDEN_NAME), type=list[GoldenText])
    except msgspec.DecodeError as error:
        raise BundleError(f"bundle '{words.bundle.path}': {GOLDEN_NAME} cannot be read ({error})") from error
    failures = []
    for case in cases:
        cosine = float(words.embed([case.text])[0] @ np.asarray(case.embedding, np.float32))
        if words.tokens(case.text) != case.tokens:
            failures.append(f"'{case.text}': this tokenizer gives other tokens")
        elif not cosine >= _LEAST_COSINE:
            failures.append(f"'{case.text}': the embedding differs from export's (cosine {cosine:.5f})")
    return GoldenResult(len(cases), tuple(failures))
