"""The same bundle on this machine, on an emulated x86 without VNNI and on an emulated Cortex-A72.

    python benchmarks/portability.py BUNDLE DATA [--images 200] [--label-column label] [--arm64 ROOT] [--json FILE]

Runs the installed device package: golden images, then photos of DATA (a folder of class folders, or a CSV), once
natively and once under each user-mode emulator. Compares the prepared bytes, top-1 and the first answers of every
variant, beside what export's saturation audit predicted from calibration photos for an x86 without VNNI. Float
sums are ten times as slow to emulate as integers, so fp32 takes part only with --variant fp32. Emulation proves
what is computed, never how fast. The exit code is 1 where a variant that is meant for every machine answers
otherwise; an emulator that is missing is named and left out.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.runtime import Bundle, SightlineError
from sightline.runtime.dataset import LabelledImage, match_labels, read_dataset

PROBE = Path(__file__).with_name("portability_probe.py")
NATIVE = "this machine"
# What the machines may differ by: 0.3 points of top-1, or one photo where there are fewer than 333; one first answer in
# fifty, or one; and the logits of each photo by the cosine that golden images may differ by.
MOST_POINTS, MOST_OTHERS, LEAST_COSINE = 0.3, 0.02, {"fp32": 0.9999, "fp16": 0.999, "int8": 0.98}
# Haswell as the emulator can be it, without the features that it warns of.
HASWELL = "Haswell-noTSX,-pcid,-x2apic,-tsc-deadline,-invpcid"


@dataclass(frozen=True, slots=True)
class Machine:
    """A way to run the device package.

    Attributes:
        name: What tables call it.
        command: The words before the script.
        environment: Variables to add.
        missing: Why it cannot be run here, or "".
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """What one machine answered: digests of the prepared photos, failed golden images, logits by variant."""

    digests: list[str]
    golden: dict[str, tuple[int, list[str]]]
    logits: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Row:
    """One variant on one machine, beside this machine.

    Attributes:
        golden: Golden images that gave export's answers, of how many.
        same_bytes: Photos whose prepared bytes are this machine's.
        right: Photos answered rightly.
        agreement: Share of photos with this machine's first answer.
        cosine: The least between the logits of both.
        judged: Whether this variant is meant for this machine.
        predicted: The agreement that the saturation audit predicted, on calibration photos; None where it says nothing.
        predicted_points: The points of top-1 that it predicted to be lost, likewise.
    """

    machine: str
    variant: str
    target: str
    images: int
    golden: str
    same_bytes: int
    right: int
    agreement: float
    cosine: float
    judged: bool
    predicted: float | None
    predicted_points: float | None


def machines(arm64: Path | None) -> list[Machine]:
    """List this machine and the emulated ones."""
    sites = os.pathsep.join(dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))))
    # A virtual environment's python is a link; the emulator wants the interpreter itself.
    interpreter = os.path.realpath(sys.executable)
    return [
        Machine(NATIVE, (sys.executable,), {}),
        _haswell(interpreter, sites),
        _cortex(arm64),
    ]


def _haswell(interpreter: str, sites: str) -> Machine:
    name = "x86 Haswell (AVX2, no VNNI)"
    qemu = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")
    if qemu is None:
        return Machine(name, (), {}, "qemu-x86_64 is not installed (Debian: qemu-user-static)")
    return Machine(name, (qemu, "-cpu", HASWELL, interpreter), {"PYTHONPATH": sites, "PYTHONNOUSERSITE": "1"})


def _cortex(root: Path | None) -> Machine:
    name = "arm64 Cortex-A72"
    qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if qemu is None:
        return Machine(name, (), {}, "qemu-aarch64 is not installed (Debian: qemu-user-static)")
    # The package comes last, so without it the system was not finished.
    if root is None or not (root / "site/sightline").exists():
        return Machine(
            name, (), {}, "no arm64 system: make one with 'benchmarks/arm64_root.sh FOLDER', name it with --arm64"
        )
    words = (qemu, "-cpu", "cortex-a72", "-L", str(root), "-E", f"PYTHONPATH={root / 'site'}")
    return Machine(name, (*words, str(root / "usr/bin/python3.11")), {})


def choose(bundle: Bundle, data: str, label_column: str, count: int) -> list[LabelledImage]:
    """Choose photos with a label of the bundle, spread evenly over the data."""
    known = [one for one in match_labels(read_dataset(data, label_column), bundle.labels) if one.label in bundle.labels]
    if not known:
        raise SystemExit(f"no photo of '{data}' has a label of the bundle")
    places = np.linspace(0, len(known) - 1, min(count, len(known))).round().astype(int)
    return [known[place] for place in places]


def probe(machine: Machine, bundle: Bundle, variants: list[str], photos: list[LabelledImage], folder: Path) -> Answers:
    """Run the probe on a machine."""
    wanted, out = folder / "photos.json", folder / "answers.npz"
    files = [str(one.path.resolve()) for one in photos]
    wanted.write_text(json.dumps({"files": files, "variants": variants}))
    words = [*machine.command, str(PROBE), str(Path(bundle.path).resolve()), str(wanted), str(out)]
    done = subprocess.run(words, env=os.environ | machine.environment, cwd=folder)
    if done.returncode:
        raise SystemExit(f"{machine.name}: the probe ended with {done.returncode}")
    with np.load(out) as found:
        facts = json.loads(str(found["facts"]))
        logits = {name: found[name] for name in found.files if name != "facts"}
    return Answers(facts["digests"], {name: (count, bad) for name, (count, bad) in facts["golden"].items()}, logits)


def compare(
    bundle: Bundle, photos: list[LabelledImage], machine: Machine, came: Answers, reference: Answers
) -> list[Row]:
    """Hold a machine's answers beside this machine's."""
    truth = np.array([bundle.labels.index(one.label) for one in photos])
    audits = {one["name"]: one["saturation"] for one in json.loads(bundle.read("report.json"))["variants"]}
    rows = []
    for variant in map(bundle.variant, came.logits):
        mine, theirs = came.logits[variant.name], reference.logits[variant.name]
        checked, failures = came.golden[variant.name]
        arm = "arm64" in machine.name
        agreement, points = _predicted(audits[variant.name]) if "x86" in machine.name else (None, None)
        rows.append(
            Row(
                machine.name,
                variant.name,
                variant.target,
                len(photos),
                f"{checked - len(failures)}/{checked}",
                sum(left == right for left, right in zip(came.digests, reference.digests, strict=True)),
                int((mine.argmax(1) == truth).sum()),
                float((mine.argmax(1) == theirs.argmax(1)).mean()),
                float(_cosines(mine, theirs).min()),
                variant.target in ("any", "portable") or (variant.target == "arm64" and arm),
                agreement,
                points,
            )
        )
    return rows


def _predicted(audit: dict[str, Any] | None) -> tuple[float | None, float | None]:
    if audit is None:
        return None, None
    if not audit["possible"]:
        return 1.0, 0.0
    return audit["agreement"], 100 * (audit["with_vnni"]["value"] - audit["without_vnni"]["value"])


def failures(rows: list[Row], precisions: dict[str, str]) -> list[str]:
    """Say what differs of what must not."""
    at_home = {row.variant: row for row in rows if row.machine == NATIVE}
    found = []
    for row in (row for row in rows if row.machine != NATIVE):
        allowed = max(1.0, row.images * MOST_POINTS / 100)
        if row.same_bytes < row.images:
            found.append(f"{row.machine}: {row.images - row.same_bytes} photos are prepared to other bytes")
        if row.judged and abs(row.right - at_home[row.variant].right) > allowed:
            found.append(f"{row.machine}, {row.variant}: {row.right} right, here {at_home[row.variant].right}")
        if row.judged and round(row.images * (1 - row.agreement)) > max(1.0, row.images * MOST_OTHERS):
            found.append(
                f"{row.machine}, {row.variant}: only {row.agreement:.1%} of the first answers are this machine's"
            )
        if row.judged and row.cosine < LEAST_COSINE[precisions[row.variant]]:
            found.append(f"{row.machine}, {row.variant}: logits differ (cosine {row.cosine:.4f})")
        if row.judged and row.golden.split("/")[0] != row.golden.split("/")[1]:
            found.append(f"{row.machine}, {row.variant}: golden images {row.golden}")
    return list(dict.fromkeys(found))


def main() -> int:
    """Print a table; the exit code is 1 where machines differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("data")
    parser.add_argument("--label-column", default="label", help="CSV column with the label or its index")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--arm64", type=Path, help="an arm64 system, see benchmarks/arm64_root.sh")
    parser.add_argument("--json", type=Path, help="also write the rows as JSON")
    parser.add_argument("--variant", action="append", help="may be given several times; the int8 ones if not given")
    options = parser.parse_args()
    try:
        bundle = Bundle.load(options.bundle)
        photos = choose(bundle, options.data, options.label_column, options.images)
    except SightlineError as error:
        raise SystemExit(str(error)) from error
    variants = options.variant or [one.name for one in bundle.manifest.variants if one.precision == "int8"]
    rows: list[Row] = []
    reference: Answers | None = None
    for machine in machines(options.arm64):
        if machine.missing:
            print(f"SKIPPED {machine.name}: {machine.missing}")
            continue
        print(f"{machine.name}: {len(photos)} photos ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="sightline-") as folder:
            came = probe(machine, bundle, variants, photos, Path(folder))
        reference = reference or came
        rows += compare(bundle, photos, machine, came, reference)
    _print(rows, len(photos))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    wrong = failures(rows, {one.name: one.precision for one in bundle.manifest.variants})
    for sentence in wrong:
        print(f"DIFFERS {sentence}")
    return 1 if wrong else 0


def _print(rows: list[Row], images: int) -> None:
    line = "{:28} {:12} {:9} {:>7} {:>12} {:>7} {:>9} {:>8}  {}"
    print(line.format("machine", "variant", "for", "golden", "same bytes", "top-1", "agreement", "cosine", "predicted"))
    for row in rows:
        same, top1 = f"{row.same_bytes}/{images}", f"{row.right / images:.1%}"
        figures = (row.golden, same, top1, f"{row.agreement:.1%}", f"{row.cosine:.4f}", _foretold(row))
        print(line.format(row.machine, row.variant, row.target, *figures))


def _foretold(row: Row) -> str:
    if row.predicted is None or row.predicted_points is None:
        return ""
    return f"{row.predicted:.1%}, {0 - row.predicted_points:+.1f} points"


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    product = np.einsum("nd,nd->n", left, right)
    return np.asarray(product / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1) + 1e-12))


if __name__ == "__main__":
    sys.exit(main())
