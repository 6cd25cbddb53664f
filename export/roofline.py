"""How far an inference is from what this machine can do: the roofline (Williams, Waterman, Patterson, CACM 2009).

The machine's peaks are measured, not looked up: multiply-accumulates a second as the best of a few products of
matrices in ONNX Runtime, in int8 (uint8 by int8, as its convolutions) and in fp32; memory bandwidth by copying arrays,
bytes read and written together. The net's work is counted from its graph: each convolution and product of matrices
reads its input and weights once and writes its output once, in a byte a value where it runs in int8 and four where not.
An inference then takes at least the larger of its multiply-accumulates at the peaks and its bytes at the bandwidth.
A cache larger than the arrays that are copied makes the bandwidth that of the cache, which is what a small net meets.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from .onnx_session import open_graph, session_options
from .onnx_view import GraphView, attribute

_SIZES = (512, 1024)
_REPEATS = 8
_COPIED_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Peaks:
    """What the machine reaches with a number of threads.

    Attributes:
        threads: Threads.
        int8_macs: Multiply-accumulates a second in int8.
        float_macs: The same in fp32.
        bandwidth: Bytes a second, read and written together.
    """

    threads: int
    int8_macs: float
    float_macs: float
    bandwidth: float


@dataclass(frozen=True, slots=True)
class Work:
    """What one inference at batch 1 costs at least.

    Attributes:
        int8_macs: Multiply-accumulates in int8.
        float_macs: Multiply-accumulates in floats.
        bytes: Bytes that its convolutions and products read and write.
    """

    int8_macs: int
    float_macs: int
    bytes: int

    @property
    def intensity(self) -> float:
        """Multiply-accumulates a byte."""
        return (self.int8_macs + self.float_macs) / max(1, self.bytes)

    def least_ms(self, peaks: Peaks) -> float:
        """The shortest time that the peaks allow, milliseconds."""
        computing = self.int8_macs / peaks.int8_macs + self.float_macs / peaks.float_macs
        return 1e3 * max(computing, self.bytes / peaks.bandwidth)


def measure_peaks(threads: int) -> Peaks:
    """Measure the machine; about a second."""
    return Peaks(threads, _product_peak(threads, True), _product_peak(threads, False), _bandwidth(threads))


def count_work(model: bytes) -> Work:
    """Count what an inference of an ONNX file costs.

    Args:
        model: The bytes of a file whose first dimension of `image` is the batch.
    """
    graph = onnx.load_from_string(model)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    inferred = shape_inference.infer_shapes(graph)
    view, shapes = GraphView(inferred), _shapes(inferred)
    int8_macs = float_macs = count = 0
    for node in view.nodes:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        values = [int(np.prod(shapes[name])) for name in (*node.input[:2], node.output[0])]
        macs = values[2] * _terms(node, shapes)
        producers = [view.producer.get(name) for name in node.input[:2]]
        in_int8 = all(one is not None and one.op_type == "DequantizeLinear" for one in producers)
        int8_macs += macs if in_int8 else 0
        float_macs += 0 if in_int8 else macs
        count += sum(values) * (1 if in_int8 else 4)
    return Work(int8_macs, float_macs, count)


def _terms(node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """Products that are summed for one value of the output."""
    if node.op_type == "Conv":
        return int(np.prod(shapes[node.input[1]][1:]))
    transposed = node.op_type == "Gemm" and attribute(node, "transA", 0)
    return shapes[node.input[0]][0 if transposed else -1]


def _shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    graph = model.graph
    found = {one.name: tuple(one.dims) for one in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        # A dimension that inference does not know is the batch.
        found[value.name] = tuple(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim)
    return found


def _product_peak(threads: int, quantized: bool) -> float:
    return max(size**3 / _fastest(_product(size, threads, quantized)) for size in _SIZES)


def _product(size: int, threads: int, quantized: bool) -> Callable[[], object]:
    random = np.random.default_rng(0)
    left: NDArray[np.generic]
    right: NDArray[np.generic]
    if quantized:
        left = random.integers(0, 256, (size, size)).astype(np.uint8)
        right = random.integers(-64, 65, (size, size)).astype(np.int8)
    else:
        left, right = (random.standard_normal((size, size)).astype(np.float32) for _ in range(2))
    kinds = (TensorProto.UINT8, TensorProto.INT32) if quantized else (TensorProto.FLOAT, TensorProto.FLOAT)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger" if quantized else "MatMul", ["left", "right"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", kinds[0], [size, size])],
        [helper.make_tensor_value_info("product", kinds[1], [size, size])],
        [numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = session_options()
    options.intra_op_num_threads = threads
    session = open_graph(model.SerializeToString(), options)
    return lambda: session.run(None, {"left": left})


def _bandwidth(threads: int) -> float:
    pairs = [(np.ones(_COPIED_BYTES, np.uint8), np.zeros(_COPIED_BYTES, np.uint8)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        seconds = _fastest(lambda: list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs)))
    return 2 * _COPIED_BYTES * threads / seconds


def _fastest(work: Callable[[], object]) -> float:
    """The shortest of some runs, seconds: what the machine can, not what it does beside others."""
    work()
    spent = []
    for _ in range(_REPEATS):
        start = perf_counter()
        work()
        spent.append(perf_counter() - start)
    return min(spent)
