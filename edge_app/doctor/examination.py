"""The whole examination, in the order a person reads it."""

import os
from collections.abc import Iterator
from pathlib import Path

from .cameras import examine_cameras
from .finding import Finding
from .libraries import examine_display, examine_libraries, examine_providers
from .machine import examine_machine
from .stores import examine_bundle, examine_gallery


def examine(bundle: str | None, gallery: str | None, root: Path = Path("/")) -> Iterator[Finding]:
    """Look at everything, a finding at a time.

    Args:
        bundle: A bundle to check as well, or None.
        gallery: A gallery to check as well, or None.
        root: Where /proc, /sys and /dev are.
    """
    yield from examine_machine(root, Path(gallery) if gallery is not None else Path.cwd())
    yield from examine_libraries()
    yield from examine_providers(root)
    yield from examine_cameras(root)
    yield examine_display(os.environ)
    if bundle is not None:
        yield from examine_bundle(bundle, root)
    if gallery is not None:
        yield examine_gallery(gallery)
