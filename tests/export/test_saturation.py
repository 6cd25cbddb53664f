"""The saturation audit: against the definition written out sum by sum, and against an emulated CPU without VNNI."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from sightline.export.onnx_graph import serialize
from sightline.export.onnx_probe import Probe
from sightline.export.quantize_input import fold_normalization
from sightline.export.quantize_plan import make_plan
from sightline.export.quantize_ranges import find_ranges, observe
from sightline.export.quantize_writer import WeightFormat, write_qdq
from sightline.export.saturation import HIGHEST, LOWEST, PairedWeights, Window
from sightline.export.saturation_audit import Walk, audit_saturation, explain
from tests.export.nets import LABELS, SPEC, conv_graph, draw_folder, images

QEMU = shutil.which("qemu-x86_64-static")
RANDOM = np.random.default_rng(0)


def definition(
    pixels: np.ndarray, weight: np.ndarray, zero_point: int, window: Window
) -> tuple[np.ndarray, np.ndarray]:
    """Error and hits, output by output and pair by pair."""
    (top, left, bottom, right), (high, wide) = window.pads, window.strides
    padded = np.pad(pixels, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=zero_point).astype(int)
    rows = (padded.shape[2] - (weight.shape[2] - 1) * window.dilations[0] - 1) // high + 1
    columns = (padded.shape[3] - (weight.shape[3] - 1) * window.dilations[1] - 1) // wide + 1
    error = np.zeros((len(pixels), len(weight), rows, columns), int)
    hit = np.zeros(error.shape, bool)
    for photo, output, row, column in np.ndindex(error.shape):
        first = output // (len(weight) // window.groups) * weight.shape[1]
        products = [
            padded[
                photo,
                first + channel,
                row * high + down * window.dilations[0],
                column * wide + across * window.dilations[1],
            ]
            * int(weight[output, channel, down, across])
            for down, across, channel in np.ndindex(weight.shape[2], weight.shape[3], weight.shape[1])
        ]
        sums = np.array(products[0::2])
        sums[: len(products) // 2] += products[1::2]
        lost = np.clip(sums, LOWEST, HIGHEST) - sums
        error[photo, output, row, column], hit[photo, output, row, column] = lost.sum(), lost.any()
    return error, hit


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((6, 3, 3, 3), Window((2, 2), (1, 1, 1, 1))),
        ((4, 4, 1, 1), Window()),
        ((4, 5, 1, 1), Window()),
        ((4, 2, 3, 3), Window((1, 1), (0, 1, 1, 0), (2, 1), 2)),
    ],
)
def test_overflow_is_the_definition(shape, window):
    weight = RANDOM.integers(-127, 128, shape).astype(np.int8)
    pixels = RANDOM.integers(100, 256, (2, shape[1] * window.groups, 6, 5)).astype(np.uint8)
    error, hit = definition(pixels, weight, 128, window)
    found = PairedWeights(weight, window).overflow(pixels, 128)
    assert hit.any() and not hit.all()
    np.testing.assert_array_equal(found.error, error)
    np.testing.assert_array_equal(found.hit, hit)


def test_depthwise_kernels_and_seven_bit_weights_cannot_overflow():
    depthwise = PairedWeights(np.full((8, 1, 3, 3), 127, np.int8), Window(groups=8))
    assert not depthwise.can_overflow and depthwise.largest_sum == 0
    portable = PairedWeights(np.full((8, 4, 3, 3), 64, np.int8))
    assert not portable.can_overflow and portable.largest_sum == 2 * 64 * 255 <= HIGHEST
    assert PairedWeights(np.full((8, 4, 3, 3), 65, np.int8)).can_overflow
    lonely = np.zeros((2, 4, 1, 1), np.int8)
    lonely[:, 0], lonely[:, 2] = 127, 127  # never in one sum
    assert not PairedWeights(lonely).can_overflow
    assert PairedWeights(np.full((2, 2), -65, np.int8)).largest_sum == 130 * 255


def loud_graph(steps: int, outputs: int = 16):
    """An int8 graph of one convolution and one product whose sums overflow on bright pictures."""
    weight = np.abs(RANDOM.normal(0, 0.3, (outputs, 3, 3, 3))).astype(np.float32)
    folded = fold_normalization(conv_graph(weight, RANDOM.normal(0, 0.5, outputs).astype(np.float32), pads=1))
    plan = make_plan(folded)
    ranges = find_ranges(observe(folded, lambda: [images(4, 1)], plan.rounded), "minmax")
    return write_qdq(folded, plan, ranges, WeightFormat(steps))


def test_the_exact_walk_is_what_onnx_runtime_computes():
    written, x = loud_graph(127), images(4, 5)
    exact = Walk(written).logits(x, saturate=False)
    np.testing.assert_allclose(exact, Probe(written, ["logits"], integers=False).run(x)["logits"], rtol=1e-5, atol=1e-5)


def test_walking_with_losses_changes_what_the_definition_changes():
    written, x = loud_graph(127), images(2, 5)
    walk = Walk(written)
    exact, came = walk.logits(x, saturate=False), walk.logits(x, saturate=True)
    layer = walk.layers[0]
    found = layer.paired.overflow(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), layer.zero_point)
    assert found.hit.any() and layer.saturated == found.hit.sum() and layer.outputs == found.hit.size
    # Sums of positive weights lose only from above, and the graph passes that on to every logit.
    assert (found.error <= 0).all() and (came <= exact + 1e-6).all() and (came < exact - 1e-3).any()
    assert walk.counted()[0].error > 0


def test_audit_of_a_portable_file_needs_no_photo_and_says_why():
    found = audit_saturation(loud_graph(64), {}, [], LABELS, SPEC)
    assert not found.possible and found.largest_sum <= 2 * 64 * 255 and found.images == 0
    assert explain(found).startswith("cannot saturate: no sum of two products exceeds")


def test_audit_of_a_full_range_file_gives_figures(tmp_path):
    written = loud_graph(127, outputs=4)
    names = {node.name: "features.0" for node in written.graph.node if node.op_type == "Conv"}
    found = audit_saturation(written, names, draw_folder(tmp_path, 3), LABELS, SPEC)
    assert found.possible and found.images == 12 and found.layers[0].layer == "features.0"
    assert found.with_vnni is not None and found.without_vnni is not None and 0 <= found.agreement <= 1
    assert "predicted top-1" in explain(found) and "on 12 calibration photos" in explain(found)


ANSWER = """
import sys, numpy, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
images = numpy.load(sys.argv[2])
alone = [session.run(["logits"], {"image": one[None]})[0] for one in images]
numpy.savez(sys.argv[3], together=session.run(["logits"], {"image": images})[0], alone=numpy.concatenate(alone))
"""


@pytest.mark.slow
@pytest.mark.skipif(QEMU is None, reason="qemu-x86_64-static is not installed (Debian: qemu-user-static)")
@pytest.mark.parametrize("steps", [64, 127])
def test_an_emulated_cpu_without_vnni_answers_as_predicted(tmp_path, steps):
    written, x = loud_graph(steps), images(4, 5)
    (tmp_path / "model.onnx").write_bytes(serialize(written))
    np.save(tmp_path / "x.npy", x)
    files = [tmp_path / name for name in ("model.onnx", "x.npy", "y.npz")]
    python = Path(sys.executable).resolve()
    environment = {
        "PYTHONPATH": sysconfig.get_paths()["purelib"],
        "ORT_DISABLE_TELEMETRY": "1",
        "HOME": str(tmp_path),
    }
    command = [QEMU, "-cpu", "Haswell", python, "-c", ANSWER, *files]
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    answers = np.load(tmp_path / "y.npz")
    walk = Walk(written)
    predicted, exact = walk.logits(x, saturate=True), walk.logits(x, saturate=False)
    for truth in (answers["together"], answers["alone"]):
        step = float(np.abs(truth).max()) / 255
        # A tie of the rounding may fall the other way.
        assert np.abs(predicted - truth).max() < 2 * step
        if steps == 127:
            assert np.abs(exact - truth).max() > 10 * step
