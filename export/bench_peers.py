"""The peers that `sightline bench` runs beside a bundle's variants: each opens one of its ONNX files its own way.

OpenVINO and OpenCV read the file itself. torch, LiteRT and ncnn get the same graph rebuilt in torch
(`bench_torch`), which their own converters take. Nothing here is imported before it is asked for.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from sightline.runtime.preprocess import Image

Run: TypeAlias = Callable[[Image], NDArray[np.float32]]
# The bytes of an ONNX file, (height, width), threads; gives what it computes in and the way to run it.
Open: TypeAlias = Callable[[bytes, tuple[int, ...], int], tuple[str, Run]]

_EXTRA = "pip install 'sightline[peers]'"
_LOGITS = "logits"


@dataclass(frozen=True, slots=True)
class Peer:
    """Another way to run a model.

    Attributes:
        name: What tables call it.
        precisions: The variants' precisions that it takes.
        open: Opens one file.
        install: How to get it.
    """

    name: str
    precisions: tuple[str, ...]
    open: Open
    install: str = _EXTRA


def _openvino(hint: str | None) -> Open:
    def open_model(model: bytes, size: tuple[int, ...], threads: int) -> tuple[str, Run]:
        ov = import_module("openvino")
        core = ov.Core()
        read = core.read_model(model)
        read.reshape({"image": [1, *size, 3]})
        config = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        compiled = core.compile_model(read, "CPU", config | ({"INFERENCE_PRECISION_HINT": hint} if hint else {}))
        request = compiled.create_infer_request()

        def run(image: Image) -> NDArray[np.float32]:
            request.infer([image], share_inputs=True)
            return np.asarray(request.get_tensor(_LOGITS).data)

        quantized = b"QuantizeLinear" in model
        computed = str(compiled.get_property("INFERENCE_PRECISION_HINT")).strip("<>'").split("'")[-1]
        return "int8" if quantized else {"f32": "fp32", "float32": "fp32"}.get(computed, computed), run

    return open_model


def _opencv(model: bytes, size: tuple[int, ...], threads: int) -> tuple[str, Run]:
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))

    def run(image: Image) -> NDArray[np.float32]:
        net.setInput(image, "image")
        return np.asarray(net.forward(_LOGITS))

    return "fp32", run


def _torch(compiled: bool) -> Open:
    def open_model(model: bytes, size: tuple[int, ...], threads: int) -> tuple[str, Run]:
        torch: Any = import_module("torch")
        module = _rebuilt(model, planes=False)
        torch.set_num_threads(threads)
        module = torch.compile(module) if compiled else module

        def run(image: Image) -> NDArray[np.float32]:
            with torch.inference_mode():
                return np.asarray(module(torch.from_numpy(image))[0].numpy())

        return "fp32", run

    return open_model


def _litert(model: bytes, size: tuple[int, ...], threads: int) -> tuple[str, Run]:
    interpreter = import_module("ai_edge_litert.interpreter")
    converter = import_module("litert_torch")
    torch: Any = import_module("torch")
    example = (torch.zeros((1, *size, 3), dtype=torch.uint8),)
    converted = converter.convert(_rebuilt(model, planes=False), example)
    with tempfile.TemporaryDirectory(prefix="sightline-") as folder:
        file = Path(folder) / "model.tflite"
        converted.export(str(file))
        data = file.read_bytes()
    opened = interpreter.Interpreter(model_content=data, num_threads=threads)
    opened.allocate_tensors()
    entry, *_ = opened.get_input_details()
    # "…:0" or "…output_0_output", as the converter's version has it: the first by name either way.
    classes = min(opened.get_output_details(), key=lambda one: str(one["name"]))

    def run(image: Image) -> NDArray[np.float32]:
        opened.set_tensor(entry["index"], image)
        opened.invoke()
        return np.asarray(opened.get_tensor(classes["index"]))

    return "fp32", run


def _ncnn(model: bytes, size: tuple[int, ...], threads: int) -> tuple[str, Run]:
    ncnn: Any = import_module("ncnn")
    param, weights = _converted_for_ncnn(model, size)
    net = ncnn.Net()
    net.opt.num_threads = threads
    # Its fp16 and bf16 storage would be another precision than the others'.
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_vulkan_compute = False
    net.load_param_mem(param)
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(weights)
        file.flush()
        net.load_model(file.name)
    height, width = size

    def run(image: Image) -> NDArray[np.float32]:
        with net.create_extractor() as extractor:
            planes = ncnn.Mat.from_pixels(image[0], ncnn.Mat.PixelType.PIXEL_RGB, width, height)
            extractor.input("in0", planes)
            return np.array(extractor.extract("out0")[1])[None]

    return "fp32", run


def _converted_for_ncnn(model: bytes, size: tuple[int, ...]) -> tuple[str, bytes]:
    pnnx: Any = import_module("pnnx")
    torch: Any = import_module("torch")
    with tempfile.TemporaryDirectory(prefix="sightline-") as folder:
        place = Path(folder) / "model.pt"
        with _quiet():
            pnnx.export(_rebuilt(model, planes=True), str(place), (torch.zeros((1, 3, *size)),), fp16=False)
        return (Path(folder) / "model.ncnn.param").read_text(), (Path(folder) / "model.ncnn.bin").read_bytes()


@contextmanager
def process_threads_restored() -> Iterator[None]:
    """Give torch and OpenCV back the thread counts they had: peers set them for the whole process."""
    found = [(cv2.getNumThreads, cv2.setNumThreads)]
    with suppress(ImportError):
        torch: Any = import_module("torch")
        found.append((torch.get_num_threads, torch.set_num_threads))
    before = [(restore, count()) for count, restore in found]
    try:
        yield
    finally:
        for restore, count in before:
            restore(count)


@contextmanager
def _quiet() -> Iterator[None]:
    # Converters talk to the process's stdout, where results belong.
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _rebuilt(model: bytes, planes: bool) -> Any:
    return import_module("sightline.export.bench_torch").rebuild(model, planes)


PEERS = {
    peer.name: peer
    for peer in (
        Peer("openvino", ("fp32", "int8"), _openvino("f32")),
        Peer("openvino-auto", ("fp32", "int8"), _openvino(None)),
        Peer("opencv", ("fp32",), _opencv),
        Peer("torch", ("fp32",), _torch(compiled=False), "pip install 'sightline[export]'"),
        Peer("torch-compiled", ("fp32",), _torch(compiled=True), "pip install 'sightline[export]'"),
        Peer("litert", ("fp32",), _litert, f"{_EXTRA} and litert-torch, which converts"),
        Peer("ncnn", ("fp32",), _ncnn),
    )
}
