"""A foreign ONNX file made to the contract, and the answers of the file as it came."""

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from sightline.runtime.preprocess import Image

from .onnx_adopt import SHARPNESS, Trunk

Floats = NDArray[np.float32]


class ForeignModel:
    """A foreign file with its adopted graph and the answers of the file as it came.

    Attributes:
        name: The file's name without its ending.
        dim: Width of the embedding.
        graph: `image` uint8 [batch, height, width, 3] RGB to `logits` and `embedding`.
    """

    def __init__(self, name: str, graph: ModelProto, trunk: Trunk, head: tuple[Floats, ...]) -> None:
        self.name = name
        self.graph = graph
        self.dim = head[-1].shape[1]
        self._trunk, self._head = trunk, head

    def answer(self, images: Image) -> tuple[Floats, Floats]:
        """Give what the file as it came says: logits and embeddings, the head computed beside it."""
        came = self._trunk.original.run(images)
        heads = self._trunk.heads
        features = _rows(came[heads.features])
        if not self._trunk.classifier:
            embeddings = unit_rows(features)
            return np.asarray(SHARPNESS * embeddings @ self._head[0].T, np.float32), embeddings
        mean, matrix = self._head
        projected = np.asarray((features - mean) @ matrix, np.float32)
        return _rows(came[heads.logits]), unit_rows(projected)


def _rows(values: Floats) -> Floats:
    if values.ndim == 4 and max(values.shape[1:]) < np.prod(values.shape[1:]):
        return np.asarray(values.mean(axis=(2, 3)), np.float32)
    return values.reshape(len(values), -1)


def unit_rows(rows: Floats) -> Floats:
    """Bring each row to unit length."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), np.float32)
