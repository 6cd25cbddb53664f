"""Sightline and what people would write instead: each takes BGR frames or files and gives a label or an index.

`pipeline.py` starts each in a process of its own, as below, and gives it work a line: torch's and MediaPipe's threads
spin for a while after their work, and would take the processor from what is measured next in the same process.

    python benchmarks/pipeline_peers.py NAME SETTINGS       settings and jobs are JSON

    sightline            as `run` and `predict` do it
    torchvision + faiss  the plain script: MobileNetV2 in torch, torchvision's transforms, faiss for the look-up
    ultralytics          its classifier's `predict` (YOLO11n-cls: 0.2 billion multiply-accumulates, MobileNetV2 has 0.3)
    mediapipe            its ImageClassifier and ImageEmbedder on MobileNetV2 as TFLite files (`mediapipe_files.py`)

Speed alone is compared here, so weights are random where none are at hand.
"""

import json
import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Vectors = NDArray[np.float32]

K = 5
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Peer:
    """One of them, opened.

    Attributes:
        name: Of the tables.
        frame: Answers one frame, uint8 (height, width, 3) BGR.
        files: Answers many files, one result a file, by the peer's own best way.
    """

    frame: Callable[[Frame], object]
    files: Callable[[Sequence[Path]], Iterator[object]]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a peer is opened with.

    Attributes:
        bundle: Sightline's.
        gallery: Sightline's gallery, of the same vectors.
        vectors: A file of the gallery's vectors, float32 (entries, dim), unit length.
        mediapipe: Folder of classifier.tflite and embedder.tflite.
        threads: For one operator, or workers.
    """

    bundle: str
    gallery: str
    vectors: str
    mediapipe: str
    threads: int

    def read_vectors(self) -> Vectors:
        """Read the gallery's vectors."""
        vectors: Vectors = np.load(self.vectors)
        return vectors


def sightline(settings: Settings) -> Peer:
    """Give ourselves, with a gallery."""
    from sightline.runtime import Bundle, Gallery, Recognizer, read_image
    from sightline.runtime.bulk import in_order, open_for_many

    bundle = Bundle.load(settings.bundle)
    gallery = Gallery.open(settings.gallery, model=bundle.model_id, create=False)
    alone = Recognizer(bundle, threads=settings.threads)
    shared, workers = open_for_many(bundle, threads=settings.threads)

    def files(paths: Sequence[Path]) -> Iterator[object]:
        return in_order(lambda path: shared.recognize(read_image(path), gallery, K), paths, workers)

    return Peer(lambda frame_bgr: alone.recognize(frame_bgr, gallery, K), files)


def bare(settings: Settings) -> Peer:
    """Give `session.run` of the same model on a prepared image: the least that any pipeline of it costs."""
    from sightline.runtime import Bundle, Recognizer

    recognizer = Recognizer(Bundle.load(settings.bundle), threads=settings.threads)
    spec = recognizer.bundle.input_spec
    image = np.zeros((1, spec.height, spec.width, 3), np.uint8)
    return Peer(lambda _: recognizer.run(image), lambda paths: (recognizer.run(image) for _ in paths))


def torchvision_faiss(settings: Settings) -> Peer:
    """MobileNetV2 in torch, its own transforms, a flat faiss index over the features' first numbers."""
    import_module("sightline.models.operators")  # torchvision's, where its own library does not load
    import faiss
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

    torch.set_num_threads(settings.threads)
    faiss.omp_set_num_threads(settings.threads)
    vectors = settings.read_vectors()
    net, transform = mobilenet_v2().eval(), MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)

    def answer(batch: Any) -> list[tuple[int, int]]:
        with torch.inference_mode():
            features = net.features(batch).mean((2, 3))
            labels = net.classifier(features).argmax(1)
            query = torch.nn.functional.normalize(features[:, : vectors.shape[1]]).numpy()
        return list(zip(labels.tolist(), index.search(query, K)[1][:, 0].tolist(), strict=True))

    class Photos(Dataset[Any]):
        def __init__(self, files: Sequence[Path]) -> None:
            self.files = files

        def __len__(self) -> int:
            return len(self.files)

        def __getitem__(self, row: int) -> Any:
            return transform(Image.open(self.files[row]).convert("RGB"))

    def files(paths: Sequence[Path]) -> Iterator[object]:
        for batch in DataLoader(Photos(paths), _BATCH, num_workers=settings.threads):
            yield from answer(batch)

    def frame(frame_bgr: Frame) -> object:
        return answer(transform(Image.fromarray(frame_bgr[..., ::-1].copy()))[None])[0]

    return Peer(frame, files)


def ultralytics(settings: Settings) -> Peer:
    """Its own loader, preprocessing and fused net; it has no look-up."""
    import_module("sightline.models.operators")

    os.environ["YOLO_OFFLINE"] = "1"
    import torch
    from ultralytics import YOLO

    torch.set_num_threads(settings.threads)
    model = YOLO("yolo11n-cls.yaml", verbose=False)
    manner = {"imgsz": 224, "verbose": False, "device": "cpu"}

    def files(paths: Sequence[Path]) -> Iterator[object]:
        for result in model.predict([str(path) for path in paths], stream=True, batch=_BATCH, **manner):
            yield result.probs.top1

    return Peer(lambda frame_bgr: model.predict(frame_bgr, **manner)[0].probs.top1, files)


def mediapipe(settings: Settings) -> Peer:
    """Classifier and embedder, one after the other as its guide shows; the look-up is one numpy product.

    Raises:
        ImportError: It is not installed, or its files are not there.
    """
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    folder, vectors = Path(settings.mediapipe), settings.read_vectors()
    paths = [folder / f"{name}.tflite" for name in ("classifier", "embedder")]
    if not all(path.exists() for path in paths):
        raise ImportError(f"no {paths[0].name} and {paths[1].name} in {folder}: see benchmarks/mediapipe_files.py")
    options = [BaseOptions(model_asset_path=str(path)) for path in paths]
    classifier = vision.ImageClassifier.create_from_options(
        vision.ImageClassifierOptions(base_options=options[0], max_results=K)
    )
    embedder = vision.ImageEmbedder.create_from_options(
        vision.ImageEmbedderOptions(base_options=options[1], l2_normalize=True)
    )

    def answer(image: Any) -> object:
        label = classifier.classify(image).classifications[0].categories[0].index
        embedding = np.asarray(embedder.embed(image).embeddings[0].embedding[: vectors.shape[1]], np.float32)
        return label, int((vectors @ embedding).argmax())

    def frame(frame_bgr: Frame) -> object:
        return answer(mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(frame_bgr[..., ::-1])))

    def files(found: Sequence[Path]) -> Iterator[object]:
        return (answer(mp.Image.create_from_file(str(path))) for path in found)

    return Peer(frame, files)


PEERS: dict[str, Callable[[Settings], Peer]] = {
    "sightline": sightline,
    "session.run alone": bare,
    "torchvision + faiss": torchvision_faiss,
    "ultralytics": ultralytics,
    "mediapipe": mediapipe,
}


def _cpu_s() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _frames(peer: Peer, photo: str, size_wh: tuple[int, int], times: int) -> list[float]:
    """Milliseconds of each frame; the first ones warm up and do not count."""
    frame, result = cv2.resize(cv2.imread(photo), size_wh), []
    for _ in range(times + 3):
        begun = perf_counter()
        peer.frame(frame)
        result.append(1e3 * (perf_counter() - begun))
    return result[3:]


def _files(peer: Peer, photos: Sequence[str], count: int) -> tuple[float, float]:
    """Images a second and cores kept busy."""
    files = [Path(photos[row % len(photos)]) for row in range(count)]
    begun, used = perf_counter(), _cpu_s()
    answers = sum(1 for _ in peer.files(files))
    took = perf_counter() - begun
    assert answers == count, f"{answers} answers for {count} files"
    return count / took, (_cpu_s() - used) / took


def main() -> None:
    """Answer jobs from stdin, a line each; with a photo as third argument, answer that and end."""
    name, settings = sys.argv[1], Settings(**json.loads(sys.argv[2]))
    talk, sys.stdout = sys.stdout, sys.stderr
    try:
        peer = PEERS[name](settings)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=talk, flush=True)
        return
    if len(sys.argv) > 3:
        print(peer.frame(cv2.imread(sys.argv[3])), file=talk, flush=True)
        return
    print(json.dumps({"ready": name}), file=talk, flush=True)
    jobs = {"frames": _frames, "files": _files}
    for line in sys.stdin:
        job, arguments = json.loads(line)
        print(json.dumps(jobs[job](peer, *arguments)), file=talk, flush=True)


if __name__ == "__main__":
    main()
