"""The float model that a bundle is made from and proven against: one of torch, or a foreign ONNX file."""

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from sightline.models import RecognitionModel
from sightline.runtime.preprocess import Image, InputSpec

from .foreign_model import ForeignModel
from .onnx_graph import export_onnx

FloatModel: TypeAlias = RecognitionModel | ForeignModel


def model_name(model: FloatModel) -> str:
    """Give the architecture's name, or the file's."""
    return model.name if isinstance(model, ForeignModel) else model.architecture.name


def origin(model: FloatModel) -> str:
    """Say in words what the bundle's float file is compared with."""
    return f"'{model.name}' as it came" if isinstance(model, ForeignModel) else "torch"


def float_graph(model: FloatModel, spec: InputSpec) -> ModelProto:
    """Give the float graph: `image` uint8 [batch, height, width, 3] RGB to `logits` and `embedding`."""
    return model.graph if isinstance(model, ForeignModel) else export_onnx(model, spec)


def answers(model: FloatModel, images: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give the model's own logits and embeddings of prepared photos, uint8 (photos, height, width, 3) RGB."""
    if isinstance(model, ForeignModel):
        return model.answer(images)
    with torch.inference_mode():
        logits, embeddings = model.eval()(torch.from_numpy(images))
    return logits.numpy(), embeddings.numpy()
