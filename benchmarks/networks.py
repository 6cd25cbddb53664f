"""Write the table of networks anew: sizes are counted, measured figures kept.

python benchmarks/networks.py

A figure is entered by hand in edge_app/networks.json, with the command that shows it and the day.
"""

from pathlib import Path

import msgspec

from sightline.edge_app import networks
from sightline.models import ARCHITECTURES, Architecture, measure_size

TABLE = Path(networks.__file__).with_name("networks.json")


def entry(architecture: Architecture, measured: tuple[networks.Measurement, ...]) -> networks.Network:
    """Count one network."""
    size = measure_size(architecture)
    return networks.Network(
        architecture.name,
        architecture.image_size,
        size.parameters,
        size.macs,
        architecture.weights is not None,
        measured,
    )


def main() -> None:
    """Write the file."""
    kept = {one.name: one.measured for one in networks.list_networks()} if TABLE.exists() else {}
    rows = [entry(architecture, kept.get(name, ())) for name, architecture in ARCHITECTURES.items()]
    TABLE.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")
    print(f"wrote {len(rows)} networks to {TABLE}")


if __name__ == "__main__":
    main()
