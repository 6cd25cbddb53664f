"""A text encoder from anywhere as a bundle of words: the other half of an image encoder whose galleries it searches.

read the graph -> find its inputs and its output -> embed the image encoder's labels -> golden texts, manifest -> bundle
"""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto

from sightline.runtime.bundle import Bundle
from sightline.runtime.errors import InputError, first_line
from sightline.runtime.golden import GOLDEN_NAME
from sightline.runtime.manifest import RECOGNISES, WORDS, Manifest, TextInput, Variant
from sightline.runtime.providers import ORT_ERRORS
from sightline.runtime.session import open_session
from sightline.runtime.words import GoldenText, embed_texts, fit_tokenizer, read_tokenizer, text_interface

from .onnx_file import read_graph
from .writer import check_place, file_entries, write_bundle

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FILE, _TOKENIZER = "model.fp32.onnx", "tokenizer.json"
_INTEGERS = {TensorProto.INT32: "int32", TensorProto.INT64: "int64"}
# What CLIP takes, where neither the file nor the tokenizer says it.
_USUAL_LENGTH = 77
_PADS = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>", "</s>")
_GOLDEN_TEXTS = 8
_TOOLS = ("onnx", "onnxruntime", "tokenizers", "numpy", "sightline")


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """What the user brings.

    Attributes:
        file: The text encoder, a float ONNX file.
        tokenizer: Its `tokenizer.json`.
        joint: The bundle of the image encoder that was trained with it.
    """

    file: str
    tokenizer: str
    joint: str


def export_words(encoder: TextEncoder, out: str | Path) -> Manifest:
    """Prove and write a bundle of words.

    Returns:
        Its manifest.

    Raises:
        InputError: The encoder or its tokenizer cannot be used, or does not fit the image encoder.
        BundleError: The image encoder's bundle cannot be used, or nothing can be written.
    """
    place = check_place(out)
    joint = Bundle.load(encoder.joint)
    joint.expect(*RECOGNISES)
    data, written = _read(encoder.file), _read(encoder.tokenizer)
    tokenizer = read_tokenizer(written, encoder.tokenizer)
    graph = read_graph(encoder.file)
    text = _text_input(graph, tokenizer, encoder.file)
    fit_tokenizer(tokenizer, text)
    session = open_session(data, "cpu", None, text_interface(text))
    texts = list(joint.labels[:_GOLDEN_TEXTS])
    try:
        embeddings = embed_texts(texts, tokenizer, session.fetch, text)
    except ORT_ERRORS as error:
        raise InputError(
            f"model '{encoder.file}' cannot run on the tokens of '{texts[0]}': {first_line(error)}"
        ) from error
    _check(embeddings, joint.embedding.dim, encoder)
    cases = [_golden(one, row, tokenizer) for one, row in zip(texts, embeddings, strict=True)]
    files = {_FILE: data, _TOKENIZER: written, GOLDEN_NAME: msgspec.json.encode(cases)}
    return write_bundle(place, _manifest(encoder, joint, text, files), files)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}") from error


def _text_input(graph: ModelProto, tokenizer: "Tokenizer", path: str) -> TextInput:
    weights = {tensor.name for tensor in graph.graph.initializer}
    inputs = {value.name: value for value in graph.graph.input if value.name not in weights}
    mask = next((name for name in inputs if "mask" in name), None)
    rest = [name for name in inputs if name != mask]
    kinds = {value.type.tensor_type.elem_type for value in inputs.values()}
    if len(rest) != 1 or len(kinds) != 1 or not kinds <= _INTEGERS.keys():
        names = ", ".join(f"'{name}'" for name in inputs)
        raise InputError(
            f"model '{path}' has the inputs {names}: a text encoder takes the numbers of its tokens and, where it "
            f"wants one, a mask, both int32 or int64"
        )
    shape = [dim.dim_value for dim in inputs[rest[0]].type.tensor_type.shape.dim]
    if len(shape) != 2 or shape[0] > 1:
        raise InputError(f"input '{rest[0]}' of model '{path}' has shape {shape}, expected [batch, tokens]")
    length = shape[1] or int((tokenizer.truncation or {}).get("max_length", _USUAL_LENGTH))
    output = _output(list(graph.graph.output), path)
    return TextInput(_TOKENIZER, rest[0], mask, output, _INTEGERS[kinds.pop()], length, shape[1] > 0, _pad(tokenizer))


def _output(outputs: list[ValueInfoProto], path: str) -> str:
    """Name the output that is the embedding: of several the one with a row a text."""
    flat = [one.name for one in outputs if len(one.type.tensor_type.shape.dim) == 2]
    named = [name for name in flat if "embed" in name]
    chosen = named if len(named) == 1 else flat
    if len(chosen) != 1:
        names = ", ".join(f"'{one.name}'" for one in outputs)
        raise InputError(f"model '{path}' has the outputs {names}: expected one embedding a text, [batch, values]")
    return chosen[0]


def _pad(tokenizer: "Tokenizer") -> int:
    if tokenizer.padding is not None:
        return int(tokenizer.padding["pad_id"])
    known = (tokenizer.token_to_id(one) for one in _PADS)
    return next((number for number in known if number is not None), 0)


def _check(embeddings: NDArray[np.float32], dim: int, encoder: TextEncoder) -> None:
    if embeddings.shape[1] != dim:
        raise InputError(
            f"'{encoder.file}' gives {embeddings.shape[1]} values a text and '{encoder.joint}' {dim} a picture: name "
            f"the bundle of the image encoder that was trained with it, exported with --onnx and --embedding"
        )
    if not np.isfinite(embeddings).all():
        raise InputError(f"'{encoder.file}' gives values that are not finite: export it again in float32")
    if len(embeddings) > 1 and float((embeddings @ embeddings[0]).min()) > 0.99999:
        raise InputError(
            f"'{encoder.file}' gives the same embedding for every label of '{encoder.joint}': the tokenizer "
            f"'{encoder.tokenizer}' is another model's, or knows none of these words"
        )


def _golden(text: str, embedding: NDArray[np.float32], tokenizer: "Tokenizer") -> GoldenText:
    encoded = tokenizer.encode(text)
    tokens = tuple(one for one, real in zip(encoded.ids, encoded.attention_mask, strict=True) if real)
    return GoldenText(text, tokens, tuple(map(float, embedding)))


def _manifest(encoder: TextEncoder, joint: Bundle, text: TextInput, files: dict[str, bytes]) -> Manifest:
    data = files[_FILE]
    sha256 = hashlib.sha256(data).hexdigest()
    return Manifest(
        arch=Path(encoder.file).stem,
        labels=(),
        input=joint.input_spec,
        embedding=joint.embedding,
        variants=(Variant("fp32", "fp32", "any", _FILE, sha256, len(data)),),
        default_variant="fp32",
        files=file_entries(files),
        task=WORDS,
        training={"weights": encoder.file, "joint": joint.bundle_id, "trained": False},
        tool_versions={name: version(name) for name in _TOOLS},
        text=text,
    )
