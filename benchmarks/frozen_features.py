"""Frozen-feature training through ONNX Runtime beside torch eager, in one process by turns. Needs the `export` extra.

    python benchmarks/frozen_features.py PHOTOS --label-column class_name --weights FILE --arch mobilenet_v2

The same photos, the same cores, decoding and preprocessing counted in; that of ONNX Runtime counts the export in too.
The seconds of the processor tell more than those of the clock where other programs run beside.
Then the linear head is fitted to the features of each, which is the rest of that training.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from sightline.edge_app.patience import wait_asleep

wait_asleep()  # as the command `train` does; before torch is imported

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from sightline.export.devices import choose_device  # noqa: E402
from sightline.export.features import features_by_torch  # noqa: E402
from sightline.export.onnx_features import features_by_onnx  # noqa: E402
from sightline.export.processes import Processes  # noqa: E402
from sightline.export.warmstart import fit_head  # noqa: E402
from sightline.models import RecognitionModel, build_model, load_weights  # noqa: E402
from sightline.runtime.dataset import LabelledImage, read_dataset  # noqa: E402
from sightline.runtime.preprocess import InputSpec  # noqa: E402
from sightline.runtime.reporter import QuietReporter  # noqa: E402

Floats = NDArray[np.float32]


@dataclass(slots=True)
class Way:
    """One way to features, and what was measured of it."""

    name: str
    extract: Callable[[Sequence[LabelledImage]], Floats]
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    features: Floats | None = None

    def go(self, images: Sequence[LabelledImage]) -> None:
        start, cpu_start = time.perf_counter(), time.process_time()
        self.features = self.extract(images)
        self.seconds.append(time.perf_counter() - start)
        self.cpu_s.append(time.process_time() - cpu_start)
        print(f"  {self.name}: {self.seconds[-1]:.1f} s, {self.cpu_s[-1]:.1f} s of the processor", flush=True)


def ways(model: RecognitionModel, spec: InputSpec) -> list[Way]:
    """Give torch in float32, in what `--amp auto` takes where that is another, and ONNX Runtime."""
    quiet, alone = QuietReporter(), Processes()

    def by_torch(precision: torch.dtype) -> Callable[[Sequence[LabelledImage]], Floats]:
        return lambda images: features_by_torch(model, images, spec, quiet, precision, alone)

    def by_onnx(images: Sequence[LabelledImage]) -> Floats:
        found = features_by_onnx(model, images, spec, quiet)
        assert found is not None, "the trunk cannot be exported"
        return found

    found = [Way("torch float32", by_torch(torch.float32)), Way("onnxruntime float32", by_onnx)]
    own = choose_device()[1]
    return found if own is torch.float32 else [*found, Way(f"torch {own}".replace("torch.", ""), by_torch(own))]


def tell(way: Way, first: Way, model: RecognitionModel, images: Sequence[LabelledImage]) -> None:
    """Print a line: seconds, photos a second, times as fast as the first, and how far the features differ."""
    assert way.features is not None and first.features is not None
    labels = sorted({image.label for image in images})
    start = time.perf_counter()
    fit_head(model, way.features, np.array([labels.index(image.label) for image in images]), 0.1)
    head_s, took = time.perf_counter() - start, median(way.seconds)
    ratios = [mine / other for mine, other in zip(first.seconds, way.seconds, strict=True)]
    cpu_ratio = median(mine / other for mine, other in zip(first.cpu_s, way.cpu_s, strict=True))
    norms = np.linalg.norm(way.features, axis=1) * np.linalg.norm(first.features, axis=1)
    cosine = float(((way.features * first.features).sum(1) / norms).min())
    print(
        f"{way.name:20} {took:7.1f} {len(images) / took:9.1f} {median(ratios):6.2f}x ({min(ratios):.2f} to "
        f"{max(ratios):.2f}) {cpu_ratio:10.2f}x {head_s:8.1f} {1 - cosine:11.1e}",
        flush=True,
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a folder of class folders or a CSV file")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--arch", default="mobilenet_v2")
    parser.add_argument("--images", type=int, default=1000, help="of them, at random")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    images = read_dataset(options.data, options.label_column)
    rows = np.random.default_rng(0).permutation(len(images))[: options.images]
    images = [images[row] for row in sorted(rows)]
    model = build_model(options.arch, len({image.label for image in images}))
    load_weights(model, options.weights)
    model = model.to(memory_format=torch.channels_last).eval()
    size = model.architecture.image_size
    tried = ways(model, InputSpec(size, size, model.architecture.crop))
    for way in tried:
        way.extract(images[:64])
    print(f"{options.arch} at {size} px, {len(images)} photos, {torch.get_num_threads()} threads of torch", flush=True)
    for _ in range(options.rounds):
        for way in tried:
            way.go(images)
    print("features by          seconds  photos/s  times as fast, rounds  processor  head, s  1 - cosine")
    for way in tried:
        tell(way, tried[0], model, images)


if __name__ == "__main__":
    main()
