"""What each of two processes does in the tests of `export.processes`; a module of its own, so that they start soon."""

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from sightline.export.processes import Processes


def norm_net() -> nn.Sequential:
    """A batch norm between two convolutions; seeded, the caller's own."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))


def learn_part(rank: int, folder: str) -> None:
    """Learn from a part of `images.pt`; the second process writes what it came to as `found.pt`."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    net, images, processes = norm_net(), torch.load(f"{folder}/images.pt"), Processes(rank, 2)
    rows = torch.from_numpy(processes.share(np.arange(len(images))))
    wrapped = processes.wrap(net)
    loss = wrapped(images[rows]).square().mean() * (2 * len(rows) / len(images))
    loss.backward()
    joined = processes.join([item * item for item in processes.part(range(5))])
    told = processes.agree(f"from {rank}")
    if rank == 1:
        gradients = {name: value.grad for name, value in net.named_parameters()}
        torch.save((gradients, net.state_dict(), joined, told), f"{folder}/found.pt")
    dist.destroy_process_group()
