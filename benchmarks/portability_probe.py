"""What one machine answers with a bundle: run by `portability.py` natively and under emulation.

python benchmarks/portability_probe.py BUNDLE PHOTOS.json OUT.npz

PHOTOS.json is a list of [file, label]. Needs the device package alone.
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
    bundle, photos, out = Bundle.load(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
    recognizers = {one.name: Recognizer(bundle, "cpu", one.name, 1) for one in bundle.manifest.variants}
    golden = {name: check_golden(one) for name, one in recognizers.items()}
    digests: list[str] = []
    logits: dict[str, list[np.ndarray]] = {name: [] for name in recognizers}
    start = perf_counter()
    for number, (file, _label) in enumerate(photos):
        try:
            image = prepare(read_image(file), bundle.input_spec)
        except InputError as error:
            raise SystemExit(str(error)) from error
        digests.append(input_digest(image))
        for name, one in recognizers.items():
            logits[name].append(one.run(image[None])[0][0])
        if number % 20 == 19:
            print(
                f"  {number + 1} of {len(photos)} photos, {perf_counter() - start:.0f} s", file=sys.stderr, flush=True
            )
    facts = {
        "machine": platform.machine(),
        "digests": digests,
        "golden": {name: [one.images, list(one.failures)] for name, one in golden.items()},
    }
    rows = {name: np.stack(values) for name, values in logits.items()}
    np.savez(out, facts=np.array(json.dumps(facts)), **rows)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
