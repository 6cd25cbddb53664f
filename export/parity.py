"""Whether the exported file answers as the model it was made from, on real photos and at every batch size."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightline.runtime.errors import BundleError, first_line
from sightline.runtime.preprocess import Image
from sightline.runtime.providers import ORT_ERRORS
from sightline.runtime.session import Session

from .float_model import FloatModel, answers, origin

BATCH_SIZES = (1, 2, 5)
# Measured for the six architectures on photos: logits differ by 1e-6 of their range, cosine 1 within 2e-7.
# The limits leave room for another BLAS and find what matters: a wrong layout, mean or pooling.
MAX_LOGIT_DIFFERENCE = 1e-3
LEAST_COSINE = 0.9999
# Rounding to integers turns a last-bit difference into a step; batches still agree far better than photos do.
MAX_BATCH_DIFFERENCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 2e-2}


@dataclass(frozen=True, slots=True)
class Parity:
    """How near two implementations of one model are.

    Attributes:
        images: Photos compared.
        logit_difference: Largest difference of a logit, as a part of the range of that photo's logits.
        least_cosine: Smallest cosine between a photo's two embeddings.
        agreement: Share of photos with the same first answer.
    """

    images: int
    logit_difference: float
    least_cosine: float
    agreement: float


def check_parity(model: FloatModel, session: Session, images: Image) -> Parity:
    """Compare a model with the float file made of it.

    Args:
        model: A torch model, or a foreign file.
        session: The exported file in ONNX Runtime.
        images: Prepared photos, uint8 (photos, height, width, 3) RGB.

    Raises:
        BundleError: They differ by more than the limits.
    """
    parity = compare(answers(model, images), session.run(images))
    near = parity.logit_difference <= MAX_LOGIT_DIFFERENCE and parity.least_cosine >= LEAST_COSINE
    if not near or parity.agreement < 1.0:
        raise BundleError(
            f"the exported file does not answer as {origin(model)} does: on {parity.images} photos logits differ by "
            f"up to {parity.logit_difference:.2e} of their range (limit {MAX_LOGIT_DIFFERENCE:.0e}), the smallest "
            f"cosine is {parity.least_cosine:.6f} (limit {LEAST_COSINE}), {parity.agreement:.1%} of first answers agree"
        )
    return parity


def check_batches(session: Session, images: Image, precision: str) -> Parity:
    """Compare batches of 1, 2 and 5 of the same photos.

    Args:
        session: An exported file.
        images: At least five prepared photos; fewer are repeated.
        precision: "fp32", "fp16" or "int8".

    Raises:
        BundleError: The answer depends on the size of the batch, or a size cannot be run.
    """
    five = np.resize(images, (max(BATCH_SIZES), *images.shape[1:]))
    single = [session.run(five[row : row + 1]) for row in range(len(five))]
    alone = np.concatenate([row[0] for row in single]), np.concatenate([row[1] for row in single])
    worst: Parity | None = None
    for size in BATCH_SIZES[1:]:
        parity = compare((alone[0][:size], alone[1][:size]), _run(session, five[:size]))
        if parity.logit_difference > MAX_BATCH_DIFFERENCE[precision]:
            raise BundleError(
                f"the {precision} file answers differently in a batch of {size}: logits differ by "
                f"{parity.logit_difference:.2e} of their range (limit {MAX_BATCH_DIFFERENCE[precision]:.0e})"
            )
        worst = parity if worst is None or parity.logit_difference > worst.logit_difference else worst
    assert worst is not None
    return worst


def compare(
    expected: tuple[NDArray[np.float32], NDArray[np.float32]], came: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> Parity:
    """Measure how near two pairs of logits (photos, classes) and embeddings (photos, dim) are."""
    span = np.maximum(np.ptp(expected[0], axis=1), 1e-6)
    difference = np.abs(expected[0] - came[0]).max(axis=1) / span
    # An untold nan would pass every comparison below.
    worst = float(np.nan_to_num(difference, nan=np.inf).max())
    cosine = float(np.nan_to_num(np.einsum("nd,nd->n", expected[1], came[1]), nan=-1.0).min())
    # First answers as near as the allowed difference are a tie, not a disagreement.
    best = np.take_along_axis(expected[0], came[0].argmax(axis=1)[:, None], axis=1)[:, 0]
    agree = expected[0].max(axis=1) - best <= MAX_LOGIT_DIFFERENCE * span
    return Parity(len(span), worst, cosine, float(agree.mean()))


def _run(session: Session, images: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    try:
        return session.run(images)
    except ORT_ERRORS as error:
        raise BundleError(f"the exported file cannot run a batch of {len(images)}: {first_line(error)}") from error
