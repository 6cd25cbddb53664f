"""How threads wait for each other in training."""

import os


def wait_asleep() -> None:
    """Let OpenMP's threads sleep at barriers instead of spinning; call it before torch is imported.

    Where another program takes one of the cores, spinning threads burn the time of the one they wait for: an
    epoch on two cores took 480 s instead of 29 s. On a quiet machine both take the same time. What the user set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
