"""How large a network is: its parameters and the multiply-accumulates of one picture, without any memory of it."""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from .architecture import Architecture


@dataclass(frozen=True, slots=True)
class NetworkSize:
    """A network with 1000 outputs.

    Attributes:
        parameters: How many weights it learns.
        macs: Multiply-accumulates of one picture at the usual input size; products of matrices and convolutions.
    """

    parameters: int
    macs: int


def measure_size(architecture: Architecture) -> NetworkSize:
    """Count parameters and multiply-accumulates; nothing is computed or allocated."""
    size = architecture.image_size
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        net = architecture.build().eval()
        net(torch.zeros(1, 3, size, size))
    parameters = sum(value.numel() for value in net.parameters())
    # torch counts a multiplication and an addition as two.
    return NetworkSize(parameters, counter.get_total_flops() // 2)
