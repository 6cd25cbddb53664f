"""Proof that int8 runs in int8: counts what ONNX Runtime's optimized graph computes in integers and in float.

A file full of Quantize and Dequantize nodes says nothing yet: where a pattern does not match, ONNX Runtime
silently computes in float between them, often slower than the float file.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto

from sightline.runtime.errors import BundleError

from .onnx_session import open_graph, session_options

import onnxruntime as ort  # isort: skip

_CONVOLUTIONS = frozenset({"Conv", "FusedConv", "NhwcFusedConv"})
_PRODUCTS = frozenset({"Gemm", "MatMul", "FusedGemm", "FusedMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"})
_INTEGER_CONVOLUTIONS = frozenset({"QLinearConv", "ConvInteger"})
_INTEGER_PRODUCTS = frozenset({"QGemm", "QLinearMatMul", "MatMulInteger"})


@dataclass(frozen=True, slots=True)
class Fusion:
    """What runs how in ONNX Runtime's optimized graph on this machine.

    Attributes:
        int8_convolutions: Convolutions in integers.
        float_convolutions: Names of the convolutions left in float.
        int8_products: Matrix products in integers.
        float_products: Names of the matrix products left in float (the embedding head's is meant to be).
        conversions: Quantize and Dequantize nodes left between operators.
    """

    int8_convolutions: int
    float_convolutions: tuple[str, ...]
    int8_products: int
    float_products: tuple[str, ...]
    conversions: int


def inspect_fusion(model: bytes) -> Fusion:
    """Optimize a model as a session on the CPU would and count.

    Raises:
        BundleError: ONNX Runtime cannot open the model.
    """
    nodes = list(_optimized(model).graph.node)
    kinds = [node.op_type for node in nodes]
    return Fusion(
        int8_convolutions=sum(kind in _INTEGER_CONVOLUTIONS for kind in kinds),
        float_convolutions=tuple(node.name for node in nodes if node.op_type in _CONVOLUTIONS),
        int8_products=sum(kind in _INTEGER_PRODUCTS for kind in kinds),
        float_products=tuple(node.name for node in nodes if node.op_type in _PRODUCTS),
        conversions=sum(kind in ("QuantizeLinear", "DequantizeLinear") for kind in kinds),
    )


def check_fusion(fusion: Fusion, convolutions: int, products: int, float_convolutions: int = 0) -> None:
    """Raise BundleError unless everything that was meant to run in int8 does, and nothing else.

    Args:
        fusion: What was counted.
        convolutions: How many convolutions were meant to run in int8.
        products: How many matrix products were meant to.
        float_convolutions: How many convolutions were meant to stay float.
    """
    counted = (fusion.int8_convolutions, len(fusion.float_convolutions), fusion.int8_products)
    if counted != (convolutions, float_convolutions, products):
        raise BundleError(
            f"ONNX Runtime {ort.__version__} runs {counted[0]} convolutions in int8 and {counted[1]} in float and "
            f"{counted[2]} matrix products in int8, where {convolutions}, {float_convolutions} and {products} were "
            f"meant to; in float: {', '.join(fusion.float_convolutions[:5]) or 'no convolution'}: report this model"
        )


def _optimized(model: bytes) -> ModelProto:
    with tempfile.TemporaryDirectory(prefix="sightline-") as folder:
        file = Path(folder) / "optimized.onnx"
        options = session_options()
        # Saving a graph with this machine's layout warns that it fits this machine only, which is the point.
        options.optimized_model_filepath = str(file)
        open_graph(model, options)
        return onnx.load(file)
