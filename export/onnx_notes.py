"""The notes inside an ONNX file that make it usable without its bundle."""

from typing import Any

import msgspec
from onnx import ModelProto, helper

from sightline.runtime.manifest import DecisionPolicy, Embedding
from sightline.runtime.preprocess import InputSpec

from .onnx_view import copy_model

NOTES_VERSION = 1


def with_notes(
    model: ModelProto,
    arch: str,
    labels: tuple[str, ...],
    spec: InputSpec,
    embedding: Embedding,
    decision: DecisionPolicy,
) -> ModelProto:
    """Give a copy of a model that carries labels, preprocessing and thresholds in its `metadata_props`.

    Each value is JSON: `sightline.version`, `sightline.arch`, `sightline.labels` (in the order of the logits),
    `sightline.input` (see `InputSpec`), `sightline.embedding` and `sightline.decision` (see `DecisionPolicy`).
    """
    return add_notes(model, arch=arch, labels=labels, input=spec, embedding=embedding, decision=decision)


def add_notes(model: ModelProto, **notes: Any) -> ModelProto:
    """Give a copy of a model that carries values as JSON below `sightline.` in its `metadata_props`."""
    noted = copy_model(model)
    notes = {"version": NOTES_VERSION, **notes}
    encoded = {f"sightline.{key}": msgspec.json.encode(value).decode() for key, value in notes.items()}
    helper.set_model_props(noted, encoded)
    return noted
