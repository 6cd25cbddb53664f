"""The networks that can be trained, as a table that needs no torch.

`networks.json` is written by `python benchmarks/networks.py`: sizes are counted, measured figures stay as they
were entered there, each with the command that shows it and its date.
"""

from dataclasses import dataclass
from importlib.resources import files

import msgspec


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured figure of a network.

    Attributes:
        what: What was measured, on what and how long it learned.
        value: The figure; rates from 0 to 1.
        command: What shows it.
        date: When, ISO 8601.
    """

    what: str
    value: float
    command: str
    date: str


@dataclass(frozen=True, slots=True)
class Network:
    """One network.

    Attributes:
        name: What `--arch` takes.
        image_size: Height and width of its usual input, pixels.
        parameters: Weights with 1000 outputs.
        macs: Multiply-accumulates of one picture at that size.
        imagenet: Whether ImageNet weights are published (`--weights imagenet`).
        measured: What was measured of it with Sightline.
    """

    name: str
    image_size: int
    parameters: int
    macs: int
    imagenet: bool
    measured: tuple[Measurement, ...] = ()


def list_networks() -> tuple[Network, ...]:
    """Give the networks, in the order of the registry."""
    data = files("sightline.edge_app").joinpath("networks.json").read_bytes()
    return msgspec.json.decode(data, type=tuple[Network, ...])
