"""torchvision's data sets by name, written once as PNG class folders so that everything after is files."""

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, cast
from urllib.error import URLError

import cv2
import numpy as np
from PIL.Image import Image as PictureImage

from sightline.models import operators  # noqa: F401  (must come before torchvision)
from sightline.runtime.durable import new_folder
from sightline.runtime.errors import InputError
from sightline.runtime.reporter import Reporter

PREFIX = "torchvision:"


class _Pictures(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> tuple[PictureImage, object]: ...


_Kind = Callable[..., _Pictures]


def write_torchvision(name: str, root: str | Path | None, reporter: Reporter) -> tuple[Path, Path | None]:
    """Write a torchvision classification data set as folders of PNG files below its root.

    Args:
        name: `torchvision:NAME`, for example `torchvision:CIFAR10`.
        root: The folder where the data set's own files lie or are downloaded to.
        reporter: Where progress goes.

    Returns:
        The folder of the training photos, and that of the evaluation photos where the data set has its own.

    Raises:
        InputError: No such data set, no root, no network, or nothing that has classes.
    """
    name = name.removeprefix(PREFIX)
    if root is None:
        raise InputError(f"torchvision:{name} needs --root DIR, the folder of its files (or for its download)")
    kind = _find(name)
    folder = Path(root) / f"sightline-{name}"
    train = _written(kind, name, Path(root), folder / "train", True, reporter)
    has_test = bool({"train", "split"} & set(inspect.signature(kind).parameters))
    test = _written(kind, name, Path(root), folder / "test", False, reporter) if has_test else None
    return train, test


def _find(name: str) -> _Kind:
    import torchvision.datasets

    kind = getattr(torchvision.datasets, name, None)
    if not (isinstance(kind, type) and issubclass(kind, torchvision.datasets.VisionDataset)):
        raise InputError(f"torchvision has no data set '{name}': try CIFAR10, FashionMNIST, Flowers102, Food101")
    return cast(_Kind, kind)


def _written(kind: _Kind, name: str, root: Path, folder: Path, train: bool, reporter: Reporter) -> Path:
    if not folder.is_dir():
        pictures = _open(kind, name, root, train)
        with new_folder(folder) as staging:
            _write(pictures, name, staging, reporter)
    return folder


def _open(kind: _Kind, name: str, root: Path, train: bool) -> _Pictures:
    options: dict[str, object] = {"root": str(root)}
    parameters = inspect.signature(kind).parameters
    if "train" in parameters:
        options["train"] = train
    elif "split" in parameters:
        options["split"] = parameters["split"].default if train else "test"
    try:
        return kind(**options)
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        if "download" not in parameters:
            raise InputError(f"torchvision:{name} is not below '{root}': {error}") from error
    try:
        return kind(**options, download=True)
    except (URLError, OSError, RuntimeError, ValueError, TypeError, ImportError) as error:
        raise InputError(
            f"torchvision:{name} is not below '{root}' and cannot be downloaded ({error}): put its files there"
        ) from error


def _write(pictures: _Pictures, name: str, folder: Path, reporter: Reporter) -> None:
    names = _class_names(pictures)
    with reporter.task(f"writing {name} as files", len(pictures)) as task:
        for row in range(len(pictures)):
            picture, label = pictures[row]
            if not isinstance(label, int | np.integer):
                raise InputError(f"torchvision:{name} has no single class a picture, so it cannot be learned")
            target = folder / names.get(int(label), str(int(label)))
            target.mkdir(exist_ok=True)
            rgb = np.asarray(picture.convert("RGB"))
            cv2.imwrite(str(target / f"{row:06d}.png"), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
            task.advance()


def _class_names(pictures: _Pictures) -> dict[int, str]:
    classes: Iterable[object] = getattr(pictures, "classes", None) or ()
    # Some data sets give several names a class, and names become folders.
    flat = [entry[0] if isinstance(entry, tuple) else str(entry) for entry in classes]
    return {row: entry.replace("/", "-").strip(". ") or str(row) for row, entry in enumerate(flat)}
