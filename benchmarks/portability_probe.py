"""What one machine answers with a bundle: run by `portability.py` natively and under emulation.

python benchmarks/portability_probe.py BUNDLE PHOTOS.json OUT.npz

PHOTOS.json names the files and the variants that answer them. Needs the device package alone.
"""

import json
import platform
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

from sightline.runtime import Bundle, InputError, Recognizer, prepare, read_image
from sightline.runtime.golden import check_golden, input_digest


def main() -> None:
    """Write digests of the prepared photos and each variant's outputs."""
    bundle, asked, out = Bundle.load(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
    files = asked["files"]
    recognizers = {one.name: Recognizer(bundle, "cpu", one.name, 1) for one in map(bundle.variant, asked["variants"])}
    start = perf_counter()
    golden = {name: check_golden(one) for name, one in recognizers.items()}
    print(f"  golden images, {perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    digests: list[str] = []
    logits: dict[str, list[np.ndarray]] = {name: [] for name in recognizers}
    for number, file in enumerate(files):
        try:
            image = prepare(read_image(file), bundle.input_spec)
        except InputError as error:
            raise SystemExit(str(error)) from error
        digests.append(input_digest(image))
        for name, rows in logits.items():
            rows.append(recognizers[name].run(image[None])[0][0])
        if number % 20 == 19:
            print(f"  {number + 1} of {len(files)} photos, {perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    facts = {
        "machine": platform.machine(),
        "digests": digests,
        "golden": {name: [one.images, list(one.failures)] for name, one in golden.items()},
    }
    stacked = {name: np.stack(rows) for name, rows in logits.items()}
    np.savez(out, facts=np.array(json.dumps(facts)), **stacked)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
