"""One inference of five networks: Sightline's fp32 and int8, the best that `sightline tune` can take, and its peers.

    python benchmarks/five_networks.py PHOTOS [--arch NAME ...] [--threads 1 2] [--images 100] [--peer NAME ...]

Weights are random: speed does not depend on them, accuracy does, so nothing is said of it. All run in turns in one
run, at batch 1, on the same photos. OpenVINO is asked in every way that `sightline bench` knows, on the fp32 file, on
the same int8 file, and on the int8 file that NNCF makes of the fp32 one with the same photos; its best is taken, and
so is the best of the others. A ratio is the best of ours over that: below 1 ours is faster. What is not installed is
named: `pip install 'sightline[export,peers,openvino]' nncf litert-torch`.
"""

import argparse
import hashlib
import multiprocessing
import tempfile
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sightline.export.bench import OWN, BenchOptions, Entry, bench
from sightline.export.bench_peers import PEERS, Peer, Run
from sightline.export.calibration import choose_calibration
from sightline.export.onnx_graph import export_onnx, serialize
from sightline.export.quantize import QuantizationOptions, Quantizer
from sightline.export.targets import PORTABLE, find_targets
from sightline.models import build_model, find_architecture
from sightline.runtime import Bundle, read_image
from sightline.runtime.dataset import read_dataset
from sightline.runtime.golden import GOLDEN_NAME, GoldenCase, GoldenOutput, encode_golden, input_digest
from sightline.runtime.manifest import Embedding, FileEntry, Manifest, Variant, encode_manifest
from sightline.runtime.preprocess import Image, InputSpec, decode_image, prepare
from sightline.runtime.session import open_session

NETWORKS = ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "resnet18", "resnet50")
NNCF = "openvino-nncf"
_CLASSES, _DIM, _GOLDEN = 1000, 256, 4


@dataclass(frozen=True, slots=True)
class Task:
    """One network to measure."""

    name: str
    data: str
    label_column: str
    images: int
    threads: tuple[int, ...]
    seconds: float
    peers: tuple[str, ...] | None


def measure(task: Task) -> list[str]:
    """Make a bundle of random weights and time it; gives lines of the table."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="sightline-") as folder:
        _write_bundle(Path(folder), task)
        report = bench(Bundle.load(folder), BenchOptions(task.threads, task.peers, task.seconds))
    absent = [f"{one.tool}: {one.reason}" for one in report.absent]
    return [_line(task.name, threads, report.entries) for threads in task.threads] + [
        f"  without {one}" for one in absent
    ]


def _line(name: str, threads: int, entries: tuple[Entry, ...]) -> str:
    here = [one for one in entries if one.threads == threads]
    mine = [one for one in here if one.tool.startswith(OWN)]
    plain = {one.file: one.median_ms for one in mine if one.tool == OWN}
    peers = [one for one in here if not one.tool.startswith(OWN)]
    best, openvino, other = (
        min(some, key=lambda one: one.median_ms, default=None)
        for some in (
            mine,
            [one for one in peers if one.tool.startswith("openvino")],
            [one for one in peers if not one.tool.startswith("openvino")],
        )
    )
    assert best is not None
    beside = "".join(
        f" {one.median_ms:9.2f} {best.median_ms / one.median_ms:6.2f}" if one else f" {'-':>9} {'-':>6}"
        for one in (openvino, other)
    )
    by = ", ".join(f"{one.tool} ({one.precision})" for one in (best, openvino, other) if one)
    return f"{name:20} {threads:7} {plain['fp32']:8.2f} {plain['int8']:8.2f} {best.median_ms:8.2f}{beside}  {by}"


def _write_bundle(folder: Path, task: Task) -> None:
    size = find_architecture(task.name).image_size
    spec = InputSpec(size, size)
    model = export_onnx(build_model(task.name, _CLASSES, _DIM).eval(), spec)
    photos = read_dataset(task.data, task.label_column)
    calibration = choose_calibration(photos, (), task.images)
    quantized = Quantizer(model, calibration, spec, QuantizationOptions()).make(find_targets([PORTABLE])[0].weights)
    models = {"fp32": serialize(model), "int8": serialize(quantized.model)}
    if find_spec("nncf") is not None:
        images = np.stack([prepare(read_image(one.path), spec) for one in calibration.images])
        PEERS[NNCF] = Peer(NNCF, ("fp32",), partial(_open_nncf, images))
    files = {f"model.{name}.onnx": data for name, data in models.items()}
    files |= _golden(models, [one.path for one in photos[:_GOLDEN]], spec)
    entries = {name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
    variants = tuple(
        Variant(name, name, "any", file, entries[file].sha256, len(data))
        for name, data in models.items()
        for file in [f"model.{name}.onnx"]
    )
    labels = tuple(f"class {index}" for index in range(_CLASSES))
    embedding = Embedding(_DIM, entries["model.fp32.onnx"].sha256[:16])
    manifest = Manifest(task.name, labels, spec, embedding, variants, "int8", entries)
    for name, data in {**files, "manifest.json": encode_manifest(manifest)}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)


def _open_nncf(images: Image, model: bytes, size: tuple[int, ...], threads: int) -> tuple[str, Run]:
    nncf, ov = import_module("nncf"), import_module("openvino")
    core = ov.Core()
    read = core.read_model(model)
    read.reshape({"image": [1, *size, 3]})
    batches = nncf.Dataset([image[None] for image in images])
    quantized = nncf.quantize(read, batches, subset_size=len(images), preset=nncf.QuantizationPreset.MIXED)
    config = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(quantized, "CPU", config).create_infer_request()

    def run(image: Image) -> NDArray[np.float32]:
        request.infer([image], share_inputs=True)
        return np.asarray(request.get_tensor("logits").data)

    return "int8", run


def _golden(models: dict[str, bytes], photos: list[Path], spec: InputSpec) -> dict[str, bytes]:
    sessions = {name: open_session(data, "cpu", 1) for name, data in models.items()}
    files, cases = {}, []
    for index, photo in enumerate(photos):
        name = f"golden/{index}.png"
        files[name] = cv2.imencode(".png", read_image(photo))[1].tobytes()
        prepared = prepare(decode_image(files[name], name), spec)
        outputs = {}
        for variant, session in sessions.items():
            logits, embedding = session.run(prepared[None])
            outputs[variant] = GoldenOutput(tuple(map(float, logits[0])), tuple(map(float, embedding[0])))
        cases.append(GoldenCase(name, input_digest(prepared), outputs))
    return {**files, GOLDEN_NAME: encode_golden(cases)}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a folder of class folders or a CSV file")
    parser.add_argument("--arch", nargs="+", default=list(NETWORKS))
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--images", type=int, default=100, help="photos to calibrate on")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--peer", nargs="*", help="[default: all of `sightline bench`]")
    parser.add_argument("--seconds", type=float, default=15.0, help="for each network and number of threads")
    options = parser.parse_args()
    heading = (
        f"{'network':20} threads  fp32 ms  int8 ms  best ms  OpenVINO  ratio others ms  ratio  ours, OpenVINO, other"
    )
    print(heading, flush=True)
    peers = None if options.peer is None else tuple(options.peer)
    for name in options.arch:
        threads = tuple(options.threads)
        task = Task(name, options.data, options.label_column, options.images, threads, options.seconds, peers)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print("\n".join(pool.apply(measure, (task,))), flush=True)


if __name__ == "__main__":
    main()
