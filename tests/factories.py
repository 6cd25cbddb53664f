"""What the tests are made of: pictures, and a bundle with a tiny real ONNX model, written without torch."""

import hashlib
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sightline.runtime.golden import GOLDEN_NAME, GoldenCase, GoldenOutput, encode_golden, input_digest
from sightline.runtime.manifest import (
    DecisionPolicy,
    Embedding,
    FileEntry,
    GateResult,
    Manifest,
    Variant,
    encode_manifest,
)
from sightline.runtime.preprocess import Image, InputSpec, decode_image, prepare
from sightline.runtime.session import open_session

SPEC = InputSpec(height=32, width=32, crop=1.0)
COLOURS = {"blue": (200, 40, 40), "green": (40, 200, 40), "red": (40, 40, 200)}
_GRID = 4
_FEATURES = _GRID * _GRID * 3


def picture(label: str, seed: int, size_wh: tuple[int, int] = (64, 48)) -> Image:
    """A noisy frame in the label's colour with a bright spot somewhere; uint8 BGR."""
    random = np.random.default_rng([seed, *label.encode()])
    width, height = size_wh
    frame = np.full((height, width, 3), COLOURS.get(label, (128, 128, 128)), np.uint8)
    centre = int(random.integers(width)), int(random.integers(height))
    cv2.circle(frame, centre, max(2, width // 8), (230, 230, 230), -1)
    noise = random.normal(0, 12, frame.shape)
    return np.clip(frame + noise, 0, 255).astype(np.uint8)


def photo_folder(folder: Path, per_class: int = 4, labels: tuple[str, ...] = tuple(COLOURS)) -> Path:
    """A folder of class folders with PNG pictures."""
    for label in labels:
        (folder / label).mkdir(parents=True)
        for index in range(per_class):
            cv2.imwrite(str(folder / label / f"{index:02}.png"), picture(label, index))
    return folder


def tiny_model(labels: tuple[str, ...] = tuple(COLOURS), sharpness: float = 40.0) -> bytes:
    """A real graph: colour means of a 4x4 grid, logits by similarity to each label's colour."""
    templates = np.stack([np.tile(np.array(COLOURS[label][::-1]) / 255.0, _GRID * _GRID) for label in labels])
    weights = (sharpness / _FEATURES * 3 * (templates - 0.5)).T.astype(np.float32)
    pool = [SPEC.height // _GRID, SPEC.width // _GRID]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "scale"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["pooled"], kernel_shape=pool, strides=pool),
        helper.make_node("Transpose", ["pooled"], ["cells"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["cells"], ["flat"]),
        helper.make_node("Sub", ["flat", "middle"], ["centred"]),
        helper.make_node("MatMul", ["centred", "weights"], ["logits"]),
        helper.make_node("LpNormalization", ["centred"], ["embedding"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", SPEC.height, SPEC.width, 3])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(labels)]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", _FEATURES]),
        ],
        [
            numpy_helper.from_array(np.array(255.0, np.float32), "scale"),
            numpy_helper.from_array(np.array(0.5, np.float32), "middle"),
            numpy_helper.from_array(weights, "weights"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def tiny_bundle(folder: Path, labels: tuple[str, ...] = tuple(COLOURS), policy: DecisionPolicy | None = None) -> Path:
    """Write a whole bundle folder with golden images."""
    model = tiny_model(labels)
    files = {"model.fp32.onnx": model, **_golden(model, labels)}
    entries = {name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
    entry = entries["model.fp32.onnx"]
    manifest = Manifest(
        arch="tiny",
        labels=labels,
        input=SPEC,
        embedding=Embedding(_FEATURES, entry.sha256[:16]),
        variants=(Variant("fp32", "fp32", "any", "model.fp32.onnx", entry.sha256, entry.bytes),),
        default_variant="fp32",
        files=entries,
        decision=policy or DecisionPolicy(min_probability=0.6, min_similarity=0.9),
    )
    write_bundle(folder, manifest, files)
    return folder


def two_variants(
    folder: Path,
    spoiled: str = "",
    gate: GateResult | None = None,
    default: str = "int8",
    int8_top1: float = 0.9,
    sharpness: float = 40.0,
) -> Path:
    """Write a bundle whose "int8" is another net of its own precision by name alone; both are real.

    `spoiled` names a variant whose golden answers are another net's.
    """
    labels = tuple(COLOURS)
    models = {"fp32": tiny_model(labels, sharpness), "int8": tiny_model(labels, sharpness + 1)}
    answers = {name: tiny_model(labels[::-1]) if name == spoiled else model for name, model in models.items()}
    golden = _golden(answers["fp32"], labels)
    cases = [_golden_cases(model, labels) for model in (answers["fp32"], answers["int8"])]
    joined = [
        GoldenCase(one.image, one.input_sha256, {"fp32": one.outputs["fp32"], "int8": other.outputs["fp32"]})
        for one, other in zip(*cases, strict=True)
    ]
    files = {
        **golden,
        GOLDEN_NAME: encode_golden(joined),
        **{f"model.{name}.onnx": model for name, model in models.items()},
    }
    entries = {name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
    top1 = {"fp32": 0.9, "int8": int8_top1}
    variants = tuple(
        Variant(name, name, "any", f"model.{name}.onnx", entries[f"model.{name}.onnx"].sha256, 1, top1[name])
        for name in models
    )
    manifest = Manifest(
        arch="tiny",
        labels=labels,
        input=SPEC,
        embedding=Embedding(_FEATURES, entries["model.fp32.onnx"].sha256[:16]),
        variants=variants,
        default_variant=default,
        files=entries,
        gate=gate or GateResult(True, "int8", max_drop=0.5),
    )
    write_bundle(folder, manifest, files)
    return folder


def write_bundle(folder: Path, manifest: Manifest, files: dict[str, bytes]) -> None:
    """Write a manifest, with its id computed, and its files."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))


def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    """Scale rows to unit length."""
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def _golden_cases(model: bytes, labels: tuple[str, ...]) -> list[GoldenCase]:
    return msgspec.json.decode(_golden(model, labels)[GOLDEN_NAME], type=list[GoldenCase])


def _golden(model: bytes, labels: tuple[str, ...]) -> dict[str, bytes]:
    session = open_session(model, "cpu", 1)
    files: dict[str, bytes] = {}
    cases = []
    for index, label in enumerate(labels):
        data = cv2.imencode(".png", picture(label, 100 + index))[1].tobytes()
        prepared = prepare(decode_image(data), SPEC)
        logits, embedding = session.run(prepared[None])
        output = GoldenOutput(tuple(map(float, logits[0])), tuple(map(float, embedding[0])))
        files[f"golden/{index:02}.png"] = data
        cases.append(GoldenCase(f"golden/{index:02}.png", input_digest(prepared), {"fp32": output}))
    return {**files, GOLDEN_NAME: encode_golden(cases)}
