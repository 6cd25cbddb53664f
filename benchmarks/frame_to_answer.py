"""Frame to answer beside the bare `session.run`, in one run: what does everything around the model cost?

    python benchmarks/frame_to_answer.py BUNDLE [--gallery GALLERY] [--variant int8]

Both are measured alternately on the same frame, so that a noisy machine disturbs both alike; medians count.
"""

import argparse
import statistics
from time import perf_counter

import numpy as np

from sightline.runtime import Bundle, Gallery, Recognizer, prepare

SIZES_WH = ((640, 480), (1280, 720), (1920, 1080))


def measure(
    recognizer: Recognizer, gallery: Gallery | None, size_wh: tuple[int, int], rounds: int
) -> tuple[float, float]:
    """Median milliseconds of the bare model and of frame to answer, for one frame size."""
    width, height = size_wh
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = prepare(frame, recognizer.bundle.input_spec)[None]
    bare, whole = [], []
    for _ in range(rounds):
        start = perf_counter()
        recognizer.run(image)
        middle = perf_counter()
        recognizer.recognize(frame, gallery)
        bare.append(1e3 * (middle - start))
        whole.append(1e3 * (perf_counter() - middle))
    return statistics.median(bare), statistics.median(whole)


def main() -> None:
    """Print a line a frame size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--gallery")
    parser.add_argument("--variant", default="auto")
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    recognizer = Recognizer(Bundle.load(options.bundle), variant=options.variant)
    gallery = Gallery.open(options.gallery, model=recognizer.model_id, create=False) if options.gallery else None
    print(f"variant {recognizer.variant.name}, {recognizer.threads} threads, gallery {len(gallery) if gallery else 0}")
    for size_wh in SIZES_WH:
        bare, whole = measure(recognizer, gallery, size_wh, options.rounds)
        print(
            f"{size_wh[0]}x{size_wh[1]}: session.run {bare:.2f} ms, frame to answer {whole:.2f} ms, x{whole / bare:.2f}"
        )


if __name__ == "__main__":
    main()
