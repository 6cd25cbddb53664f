"""Make what MediaPipe's ImageClassifier and ImageEmbedder read: MobileNetV2 as two TFLite files with metadata.

    python benchmarks/mediapipe_files.py tflite FOLDER      where torch, torchvision and litert-torch are installed
    python benchmarks/mediapipe_files.py metadata FOLDER    where mediapipe is installed

Two steps, as the two sets of packages do not share an environment. Normalization is inside the graph: MediaPipe's
own takes one mean for all channels. The weights are random: `pipeline.py` compares speed.
"""

import argparse
import sys
import types
from pathlib import Path

_MEAN, _STD, _CLASSES = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), 1000


def write_tflite(folder: Path) -> None:
    """Convert both nets, image float32 (1, 224, 224, 3) RGB 0 to 255."""
    import torch

    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import litert_torch
    from torchvision.models import mobilenet_v2

    net = mobilenet_v2().eval()

    class Head(torch.nn.Module):
        def __init__(self, classify: bool) -> None:
            super().__init__()
            self.net, self.classify = net, classify

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            mean, std = (torch.tensor(values)[:, None, None] for values in (_MEAN, _STD))
            prepared = (image.permute(0, 3, 1, 2) - mean) / std
            return self.net(prepared).softmax(1) if self.classify else self.net.features(prepared).mean((2, 3))

    for name, classify in (("classifier", True), ("embedder", False)):
        converted = litert_torch.convert(Head(classify).eval(), (torch.zeros(1, 224, 224, 3),))
        converted.export(str(folder / f"{name}.raw.tflite"))


def write_metadata(folder: Path) -> None:
    """Add what MediaPipe's tasks ask for."""
    # The wheel of 1.2 lacks the library that tells which reader a file needs.
    places = [".".join((["mediapipe", "tasks", "cc", "metadata", "python"])[:depth]) for depth in (3, 4, 5)]
    for place in places:
        sys.modules[place] = types.ModuleType(place)
    version = types.ModuleType("_pywrap_metadata_version")
    version.GetMinimumMetadataParserVersion = lambda _: "1.0.0"  # type: ignore[attr-defined]
    sys.modules[places[-1]]._pywrap_metadata_version = version  # type: ignore[attr-defined]
    from mediapipe.tasks.python.metadata.metadata_writers import image_classifier, metadata_writer

    raw = {name: bytearray((folder / f"{name}.raw.tflite").read_bytes()) for name in ("classifier", "embedder")}
    labels = metadata_writer.Labels().add([f"class {row}" for row in range(_CLASSES)])
    classifier = image_classifier.MetadataWriter.create(raw["classifier"], [0.0], [1.0], labels)
    embedder = metadata_writer.MetadataWriter.create(raw["embedder"])
    embedder.add_image_input([0.0], [1.0])
    embedder.add_feature_output()
    for name, writer in (("classifier", classifier), ("embedder", embedder)):
        (folder / f"{name}.tflite").write_bytes(writer.populate()[0])


def main() -> None:
    """Run one of the two steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("tflite", "metadata"))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    (write_tflite if options.step == "tflite" else write_metadata)(options.folder)


if __name__ == "__main__":
    main()
