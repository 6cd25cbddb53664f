"""Top-1 of int8 beside fp32 for many networks, each trained here from nothing. Needs the workstation's extra.

    python benchmarks/int8_accuracy.py train.csv val.csv --out int8 --budget 10m             # every convolutional net
    python benchmarks/int8_accuracy.py train.csv val.csv --out int8 --epochs 4 lenet5 mobilenet_v1_x0_25@32

Each network goes the way of a user, by the commands `train` and `export`. The evaluation photos choose the epoch, of
both forms alike, and none of them calibrates. A network that is done is not done again, so that a night's work can
be interrupted.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.models import ARCHITECTURES, find_architecture

# Networks for 224 px learn small pictures enlarged to this size: their last maps then still have four places.
_SMALL = 64
_TRANSFORMERS = ("swin_t", "vit_b_16")
_COLUMNS = "| network | px | photos | fp32 top-1 | int8 top-1 | points lost | answers as fp32 | convolutions in int8 |"


@dataclass(frozen=True, slots=True)
class Net:
    """A network to train, and the size of its input in pixels."""

    arch: str
    size: int

    @classmethod
    def parse(cls, text: str) -> "Net":
        """Read ARCH or ARCH@SIZE."""
        arch, _, size = text.partition("@")
        own = find_architecture(arch)
        return cls(arch, int(size) if size else own.image_size if own.fixed else min(own.image_size, _SMALL))


def measure(net: Net, options: argparse.Namespace) -> dict[str, Any] | None:
    """Train, export, and read what export measured; None where a command failed."""
    place = Path(options.out) / net.arch
    run, bundle = place / "run", place / "bundle"
    labels = ("--label-column", options.label_column)
    if not (run / "run.json").exists():
        words = ["--out", str(run), "--arch", net.arch, "--weights", "none", "--image-size", str(net.size)]
        length = ("--epochs", str(options.epochs)) if options.epochs else ("--budget", options.budget)
        _sightline(
            place / "train.log", "train", options.data, *words, *length, "--val", options.val, *labels, "--resume"
        )
    if (run / "run.json").exists() and not (bundle / "report.json").exists():
        # A failed gate has exit code 1 and a bundle nevertheless.
        _sightline(place / "export.log", "export", str(run), "--out", str(bundle))
    report = bundle / "report.json"
    return json.loads(report.read_bytes()) if report.exists() else None


def row(net: Net, report: dict[str, Any] | None) -> str:
    """Give a line of the table."""
    variants = {one["name"]: one for one in report["variants"]} if report else {}
    if report is None or "int8" not in variants:
        return f"| {net.arch} | {net.size} | failed, see its logs | | | | | |"
    fp32, int8 = variants["fp32"], variants["int8"]
    before, after, fusion = fp32["top1"], int8["top1"], int8["fusion"]
    lost = 100 * (before["value"] - after["value"])
    every = fusion["int8_convolutions"] + len(fusion["float_convolutions"])
    return (
        f"| {net.arch} | {net.size} | {before['images']} | {before['value']:.4f} | {after['value']:.4f} | {lost:+.2f} "
        f"| {int8['drift']['agreement']:.2%} | {fusion['int8_convolutions']} of {every} |"
    )


def main() -> None:
    """Print a line a network as it is done; the table also lies in OUT/int8.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="photos to learn from: a folder of class folders or a CSV file")
    parser.add_argument("val", help="photos to judge on")
    parser.add_argument("arch", nargs="*", help="ARCH or ARCH@SIZE; without any all that are no transformers")
    parser.add_argument("--out", required=True, help="where runs, bundles and the table go")
    parser.add_argument("--budget", default="10m", help="of each training")
    parser.add_argument("--epochs", type=int, help="of each training instead, however long they take")
    parser.add_argument("--label-column", default="label")
    options = parser.parse_intermixed_args()
    chosen = options.arch or [name for name in ARCHITECTURES if name not in _TRANSFORMERS]
    lines = [_COLUMNS, "|---|---|---|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for net in map(Net.parse, chosen):
        lines.append(row(net, measure(net, options)))
        print(lines[-1], flush=True)
        (Path(options.out) / "int8.md").write_text("\n".join(lines) + "\n")


def _sightline(log: Path, *words: str) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as said:
        command: Sequence[str] = (sys.executable, "-m", "sightline.edge_app", *words)
        subprocess.run(command, stdout=said, stderr=subprocess.STDOUT, check=False)


if __name__ == "__main__":
    main()
