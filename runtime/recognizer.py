"""Frames in, answers out: preprocessing, one session, the classifier, the gallery and the decision."""

from collections.abc import Sequence
from time import perf_counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import BundleError, GalleryError, ProviderError
from .manifest import EMBEDDING, MULTI_LABEL, RECOGNISES, Variant
from .opened import OpenedModel
from .preprocess import Image, prepare_batch
from .recognition import (
    Candidate,
    Latency,
    Match,
    Recognition,
    decide,
    decide_by_gallery,
    decide_labels,
    sigmoid,
    softmax,
)
from .session import Session
from .tuned import Advice, advise

_TOP = 5


class Lookup(Protocol):
    """What a recognizer needs of a gallery."""

    @property
    def model_id(self) -> str:
        """The embedding space of its entries."""

    def match(self, embedding: NDArray[np.float32], k: int) -> tuple[Match, ...]:
        """The nearest entries to one embedding, most similar first."""


class Recognizer(OpenedModel):
    """A bundle made ready to answer.

    Where neither provider nor variant is asked for, and `sightline tune` has chosen for this machine, its choice runs;
    see `tuned`. Safe to use from several threads: ONNX Runtime's sessions are, and nothing else is shared.

    Attributes:
        bundle: What it was made from.
        variant: The variant it runs.
        provider: What runs it and why.
        advice: What `sightline tune` chose, or why that does not hold.
    """

    tasks = RECOGNISES

    def _open(self, provider: str, variant: str, threads: int | None) -> tuple[Variant, Session]:
        self._known = frozenset(self.bundle.labels)
        self.advice = advise(self.bundle, threads) if provider == variant == "auto" else Advice()
        choice = self.advice.choice
        if choice is not None:
            try:
                chosen, session = super()._open(choice.provider, choice.variant, choice.threads)
                return chosen, session.because("auto", self.advice.sentence)
            except (ProviderError, BundleError) as error:
                reason = f"what 'sightline tune' chose cannot be opened ({error})"
                self.advice = Advice(None, reason, stale=True)
        return super()._open(provider, variant, threads)

    @property
    def model_id(self) -> str:
        """The embedding space of its answers."""
        return self.bundle.model_id

    def recognize(self, frame_bgr: Image, gallery: Lookup | None = None, k: int = 5) -> Recognition:
        """Answer one frame.

        Args:
            frame_bgr: uint8, shape (height, width, 3), BGR as OpenCV gives it.
            gallery: Where to look it up; None asks the classifier alone.
            k: How many matches to give at most.

        Raises:
            InputError: The array is no frame.
            GalleryError: The gallery holds embeddings of another model.
        """
        return self.recognize_batch([frame_bgr], gallery, k)[0]

    def recognize_batch(
        self, frames_bgr: Sequence[Image], gallery: Lookup | None = None, k: int = 5
    ) -> list[Recognition]:
        """Answer several frames in one pass; see `recognize`."""
        if not frames_bgr:
            return []
        self._check_gallery(gallery)
        start = perf_counter()
        images = prepare_batch(list(frames_bgr), self.bundle.input_spec)
        prepared = perf_counter()
        logits, embeddings = self._session.run(images)
        inferred = perf_counter()
        shares = (prepared - start) * 1e3 / len(images), (inferred - prepared) * 1e3 / len(images)
        return [self._answer(logits[row], embeddings[row], gallery, k, *shares) for row in range(len(images))]

    def answer(self, prepared: Image, gallery: Lookup | None = None, k: int = 5) -> Recognition:
        """Answer one prepared input, uint8 (height, width, 3) RGB: what `recognize` does after preprocessing.

        Raises:
            GalleryError: The gallery holds embeddings of another model.
        """
        self._check_gallery(gallery)
        start = perf_counter()
        logits, embeddings = self._session.run(prepared[np.newaxis])
        return self._answer(logits[0], embeddings[0], gallery, k, 0.0, (perf_counter() - start) * 1e3)

    def embed(self, frames_bgr: Sequence[Image]) -> NDArray[np.float32]:
        """Embed frames: float32, shape (frames, dim), unit length."""
        return self.run(prepare_batch(list(frames_bgr), self.bundle.input_spec))[1]

    def run(self, images: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Run prepared images, uint8 (batch, height, width, 3) RGB; see `Session.run`."""
        return self._session.run(images)

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn logits (..., classes) into probabilities: of one label against the others, or of each by itself."""
        policy = self.bundle.manifest.decision
        if self.bundle.manifest.task == MULTI_LABEL:
            return sigmoid(logits, policy.temperature)
        return softmax(logits, policy.temperature, policy.unknown_logit)

    def _answer(
        self,
        logits: NDArray[np.float32],
        embedding: NDArray[np.float32],
        gallery: Lookup | None,
        k: int,
        preprocess_ms: float,
        inference_ms: float,
    ) -> Recognition:
        start = perf_counter()
        policy = self.bundle.manifest.decision
        probabilities = self.probabilities(logits)
        several = self.bundle.manifest.task == MULTI_LABEL
        order = np.argsort(-probabilities, kind="stable")[: None if several else _TOP]
        top = tuple(Candidate(self.labels[index], float(probabilities[index])) for index in order)
        matches = gallery.match(embedding, k) if gallery is not None else ()
        labels: tuple[Candidate, ...] | None = None
        if several:
            needed = policy.label_thresholds
            labels = tuple(one for index, one in zip(order, top, strict=True) if one.probability >= needed[index])
            decision = decide_labels(labels, top, matches, policy, self._known)
        elif self.bundle.manifest.task == EMBEDDING:
            top, decision = (), decide_by_gallery(matches, policy)
        else:
            decision = decide(top, matches, policy, self._known)
        latency = Latency(preprocess_ms, inference_ms, (perf_counter() - start) * 1e3)
        return Recognition(decision, top, matches, probabilities, embedding, latency, labels)

    def _check_gallery(self, gallery: Lookup | None) -> None:
        if gallery is not None and gallery.model_id != self.model_id:
            raise GalleryError(
                f"the gallery holds embeddings of model {gallery.model_id}, this bundle makes {self.model_id}: "
                f"run 'sightline gallery reembed GALLERY --bundle {self.bundle.path}'"
            )
