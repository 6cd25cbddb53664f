"""What a CPU without VNNI will answer with an int8 file, predicted on any machine; see `saturation`.

The file is walked layer by layer on calibration photos. Each layer is computed exactly, then what its 16-bit sums
would have lost is added and the result rounded as the next layer reads it. The same walk without the losses is
what a CPU with VNNI answers, so the prediction does not depend on the machine it is made on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from sightline.runtime.dataset import LabelledImage
from sightline.runtime.preprocess import Image, InputSpec
from sightline.runtime.reporter import QuietReporter, Reporter

from .evaluate import Rate, rate
from .onnx_graph import INPUT_NAME
from .onnx_view import GraphView, attribute
from .photos import prepared
from .quantize_plan import WEIGHTED
from .quantize_segments import Bytes, Segment, SegmentRunner, cut, round_to
from .saturation import HIGHEST, PairedWeights, Window

# The classes take turns among the calibration photos, so the first of them are as mixed as all.
AUDITED_IMAGES = 128
_BATCH = 4
_LOGITS = "logits"


@dataclass(frozen=True, slots=True)
class LayerSaturation:
    """One layer whose 16-bit sums overflow.

    Attributes:
        layer: Its torch module, or the operator and the node's name.
        outputs: Outputs computed over all photos.
        saturated: Those with at least one sum cut off.
        error: Their mean absolute error in steps of the rounded output.
    """

    layer: str
    outputs: int
    saturated: int
    error: float


@dataclass(frozen=True, slots=True)
class Saturation:
    """What a CPU without VNNI makes of one int8 file.

    Attributes:
        largest_sum: The largest sum of two products that its weights allow; 32,767 is the most that is kept.
        possible: Whether any sum can overflow. Where not, the rest follows without a photo: no layer, no change.
        images: Calibration photos that were walked through.
        layers: The layers that overflow on them, the most affected first.
        agreement: Share of photos with the same first answer with and without VNNI.
        with_vnni: Top-1 with VNNI on these photos.
        without_vnni: Top-1 without, on the same photos.
    """

    largest_sum: int
    possible: bool
    images: int = 0
    layers: tuple[LayerSaturation, ...] = ()
    agreement: float = 1.0
    with_vnni: Rate | None = None
    without_vnni: Rate | None = None


def audit_saturation(
    written: ModelProto,
    names: Mapping[str, str],
    photos: Sequence[LabelledImage],
    labels: Sequence[str],
    spec: InputSpec,
    reporter: Reporter | None = None,
) -> Saturation:
    """Predict what an int8 file answers on an x86 CPU without VNNI.

    Args:
        written: What `write_qdq` gave.
        names: What to call layers, by the node's name.
        photos: Calibration photos; the first 128 are taken.
        labels: In the order of the logits.
        spec: Size and crop.
        reporter: Where progress goes.
    """
    walk = Walk(written, names)
    if not any(layer.paired.can_overflow for layer in walk.layers):
        return Saturation(walk.largest_sum, possible=False)
    chosen = [photo for photo in photos if set(photo.names) <= set(labels)][:AUDITED_IMAGES]
    exact: list[NDArray[np.float32]] = []
    cut_off: list[NDArray[np.float32]] = []
    with (reporter or QuietReporter()).task("auditing saturation", len(chosen)) as task:
        for batch in prepared([photo.path for photo in chosen], spec, _BATCH):
            exact.append(walk.logits(batch, saturate=False))
            cut_off.append(walk.logits(batch, saturate=True))
            task.advance(len(batch))
    with_vnni, without = (np.concatenate(rows).argmax(axis=1) for rows in (exact, cut_off))
    return Saturation(
        largest_sum=walk.largest_sum,
        possible=True,
        images=len(chosen),
        layers=walk.counted(),
        agreement=float((with_vnni == without).mean()),
        with_vnni=_right(with_vnni, chosen, labels),
        without_vnni=_right(without, chosen, labels),
    )


def _right(answers: NDArray[np.int64], photos: Sequence[LabelledImage], labels: Sequence[str]) -> Rate:
    return rate(np.array([labels[answer] in photo.names for answer, photo in zip(answers, photos, strict=True)], bool))


@dataclass(slots=True)
class _Layer:
    """One int8 layer of the written graph; the counts grow with every batch."""

    name: str
    paired: PairedWeights
    pixels: str
    zero_point: int
    sum_scale: NDArray[np.float64]
    scale: np.float32 | None
    zero: int
    outputs: int = 0
    saturated: int = 0
    steps: float = field(default=0.0)


class Walk:
    """An int8 file opened layer by layer.

    Attributes:
        layers: Its int8 convolutions and matrix products, in graph order.
    """

    def __init__(self, written: ModelProto, names: Mapping[str, str] | None = None) -> None:
        view = GraphView(written)
        nodes = [node for node in view.nodes if _is_int8(view, node)]
        self.layers = [_layer(view, node, names or {}) for node in nodes]
        targets = [node.output[0] for node in nodes]
        behind = [] if _LOGITS in targets else [_LOGITS]
        self._segments = cut(written, [*targets, *behind])
        also: list[list[str]] = [_also(one, segment) for one, segment in zip(self.layers, self._segments, strict=False)]
        self._runners = [
            SegmentRunner(written, segment, extra, integers=False)
            for segment, extra in zip(self._segments, [*also, *([[]] * len(behind))], strict=True)
        ]

    @property
    def largest_sum(self) -> int:
        """The largest sum of two products that any layer's weights allow."""
        return max((layer.paired.largest_sum for layer in self.layers), default=0)

    def logits(self, images: Image, saturate: bool) -> NDArray[np.float32]:
        """Walk one batch through: float32 (batch, classes).

        Args:
            images: uint8 (batch, height, width, 3) RGB.
            saturate: Whether sums are cut off at 16 bits; such walks are counted.
        """
        stored: dict[str, Bytes] = {INPUT_NAME: images}
        values: dict[str, Any] = {}
        for number, (segment, runner) in enumerate(zip(self._segments, self._runners, strict=True)):
            values = runner.run(stored)
            stored.update({name: values[name] for name in segment.stores})
            if number < len(self.layers):
                self._follow(self.layers[number], segment, values, stored, saturate)
            for name in segment.spared:
                del stored[name]
        return np.asarray(values[_LOGITS], np.float32)

    def counted(self) -> tuple[LayerSaturation, ...]:
        """Give the layers that overflowed so far, the most affected first."""
        hit = [layer for layer in self.layers if layer.saturated]
        hit.sort(key=lambda layer: -layer.saturated / layer.outputs)
        return tuple(
            LayerSaturation(layer.name, layer.outputs, layer.saturated, layer.steps / layer.saturated) for layer in hit
        )

    def _follow(
        self, layer: _Layer, segment: Segment, values: dict[str, Any], stored: dict[str, Bytes], saturate: bool
    ) -> None:
        value = values[segment.target]
        if saturate and layer.paired.can_overflow:
            pixels = values[layer.pixels] if layer.pixels in values else stored[layer.pixels]
            value = values[segment.target] = _cut_off(layer, value, pixels)
        if layer.scale is not None:
            stored[f"{segment.target}.q"] = round_to(value, layer.scale, layer.zero)


def _cut_off(layer: _Layer, value: NDArray[np.float32], pixels: Bytes) -> NDArray[np.float32]:
    overflow = layer.paired.overflow(pixels, layer.zero_point)
    lost = overflow.error.reshape(value.shape) * layer.sum_scale.reshape(1, -1, *([1] * (value.ndim - 2)))
    layer.outputs += value.size
    layer.saturated += int(overflow.hit.sum())
    layer.steps += float(np.abs(lost).sum()) / float(layer.scale or 1)
    return np.asarray(value + lost, np.float32)


def _is_int8(view: GraphView, node: NodeProto) -> bool:
    if node.op_type not in WEIGHTED:
        return False
    weight = view.producer.get(node.input[1])
    return weight is not None and weight.op_type == "DequantizeLinear"


def _layer(view: GraphView, node: NodeProto, names: Mapping[str, str]) -> _Layer:
    dequantize, weights = view.producer[node.input[0]], view.producer[node.input[1]]
    scales = (view.constant(one.input[1]).astype(np.float64) for one in (dequantize, weights))
    weight = view.constant(weights.input[0])
    if node.op_type == "Gemm" and not attribute(node, "transB", 0):
        weight = weight.T
    scale, zero = _rounding_behind(view, node.output[0])
    return _Layer(
        name=names.get(node.name, node.name),
        paired=PairedWeights(weight, _window(node)),
        pixels=dequantize.input[0],
        zero_point=int(view.constant(dequantize.input[2])),
        sum_scale=np.prod(np.broadcast_arrays(*scales), axis=0),
        scale=scale,
        zero=zero,
    )


def _also(layer: _Layer, segment: Segment) -> list[str]:
    return [] if layer.pixels in (*segment.inputs, *segment.stores) else [layer.pixels]


def _rounding_behind(view: GraphView, name: str) -> tuple[np.float32 | None, int]:
    reader = next((node for node in view.consumers[name] if node.op_type == "QuantizeLinear"), None)
    if reader is None:
        return None, 0
    return np.float32(view.constant(reader.input[1])), int(view.constant(reader.input[2]))


def _window(node: NodeProto) -> Window:
    if node.op_type != "Conv":
        return Window()
    (high, wide), (down, across) = (attribute(node, name, (1, 1)) for name in ("strides", "dilations"))
    top, left, bottom, right = attribute(node, "pads", (0, 0, 0, 0))
    return Window((high, wide), (top, left, bottom, right), (down, across), attribute(node, "group", 1))


def explain(saturation: Saturation) -> str:
    """Say in a sentence what the audit found."""
    if not saturation.possible:
        return (
            f"cannot saturate: no sum of two products exceeds {saturation.largest_sum:,}, and 16 bits hold {HIGHEST:,}"
        )
    assert saturation.with_vnni is not None and saturation.without_vnni is not None
    without, count = saturation.without_vnni.value, len(saturation.layers)
    return (
        f"saturates on a CPU without VNNI, in {count} layer{'s' if count != 1 else ''}: predicted top-1 {without:.2%} "
        f"instead of {saturation.with_vnni.value:.2%} on {saturation.images} calibration photos, the same first answer "
        f"on {saturation.agreement:.2%}"
    )
