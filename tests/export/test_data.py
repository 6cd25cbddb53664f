"""Photos are checked, freed of duplicates and split without leaks."""

import hashlib
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from sightline.export.data import DataSet, load_data, natural_key, split_data
from sightline.runtime.dataset import LabelledImage
from sightline.runtime.errors import InputError


class Listener:
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    warn = say

    def task(self, description, total=None):
        from sightline.runtime.reporter import QuietReporter

        return QuietReporter().task(description, total)


def write_photos(root: Path, sizes: dict[str, int], seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for label, count in sizes.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            cv2.imwrite(str(root / label / f"{number}.png"), rng.integers(0, 255, (9, 12, 3), np.uint8))
    return root


def test_labels_are_in_natural_order(tmp_path):
    data = load_data(write_photos(tmp_path, {"item 10": 2, "item 2": 2, "Apple": 2}))
    assert data.labels == ("item 2", "item 10", "Apple") or data.labels == ("Apple", "item 2", "item 10")
    assert sorted(["10", "9", "1"], key=natural_key) == ["1", "9", "10"]
    assert sorted(["a10b", "a9b", "a"], key=natural_key) == ["a", "a9b", "a10b"]


def test_unreadable_photos_are_named_and_left_out(tmp_path):
    write_photos(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "a" / "broken.jpg").write_bytes(b"\xff\xd8 no more than a start")
    listener = Listener()
    data = load_data(tmp_path, reporter=listener)
    assert len(data.images) == 8
    assert any("broken.jpg" in line for line in listener.lines)


def test_mostly_unreadable_is_an_error(tmp_path):
    write_photos(tmp_path, {"a": 2, "b": 2})
    for number in range(5):
        (tmp_path / "a" / f"bad{number}.jpg").write_bytes(b"text")
    with pytest.raises(InputError, match=r"5 of the 9 photos .* cannot be used"):
        load_data(tmp_path)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"only": 5}, "only 'only' as class"), ({}, "is empty")],
)
def test_too_little_to_learn_from(tmp_path, sizes, message):
    with pytest.raises(InputError, match=message):
        load_data(write_photos(tmp_path, sizes))


def test_repeated_and_contradictory_photos(tmp_path):
    write_photos(tmp_path, {"a": 3, "b": 3})
    shutil.copy(tmp_path / "a" / "0.png", tmp_path / "a" / "copy.png")
    shutil.copy(tmp_path / "a" / "1.png", tmp_path / "b" / "other.png")
    listener = Listener()
    data = load_data(tmp_path, reporter=listener)
    kept = [(image.path.name, image.label) for image in data.images]
    assert kept == [("0.png", "a"), ("2.png", "a"), ("0.png", "b"), ("1.png", "b"), ("2.png", "b")]
    assert any("two labels at once" in line for line in listener.lines)
    assert any("repeat another" in line for line in listener.lines)


def test_no_content_is_on_both_sides(tmp_path):
    train = write_photos(tmp_path / "train", {"a": 5, "b": 5})
    apart = write_photos(tmp_path / "val", {"a": 2, "b": 2, "never learned": 1}, seed=1)
    shutil.copy(train / "a" / "0.png", apart / "a" / "seen.png")
    split = split_data(load_data(train, validation=apart))
    digest = [{hashlib.sha256(i.path.read_bytes()).digest() for i in part} for part in (split.train, split.val)]
    assert not digest[0] & digest[1]
    assert len(split.train) == 9
    assert len(split.val) == 5


def listed(sizes: dict[str, int]) -> DataSet:
    images = tuple(LabelledImage(Path(f"{label}/{row}"), label) for label, n in sizes.items() for row in range(n))
    return DataSet(images, tuple(sizes))


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_split_takes_the_same_part_of_every_class(fraction):
    sizes = {"a": 100, "b": 20, "c": 2, "d": 1}
    split = split_data(listed(sizes), fraction)
    held = Counter(image.label for image in split.val)
    assert held == {"a": 100 * fraction, "b": 20 * fraction, "c": 1}
    assert len(split.train) + len(split.val) == 123
    assert not {i.path for i in split.train} & {i.path for i in split.val}


def test_split_follows_the_seed():
    data = listed({"a": 30, "b": 30})
    assert split_data(data, seed=3) == split_data(data, seed=3)
    assert split_data(data, seed=3) != split_data(data, seed=4)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0])
def test_split_needs_a_fraction(fraction):
    with pytest.raises(InputError, match="between 0 and 1"):
        split_data(listed({"a": 3, "b": 3}), fraction)


def test_split_needs_two_photos_of_some_class():
    with pytest.raises(InputError, match="one photo only"):
        split_data(listed({"a": 1, "b": 1}))


def test_torchvision_data_become_files(tmp_path):
    pickled = tmp_path / "cifar"
    write_tiny_cifar(pickled)
    data = load_data("torchvision:CIFAR10", root=pickled)
    assert data.labels == ("airplane", "automobile")
    assert len(data.images) == 10
    assert len(data.validation) == 2
    assert all(image.path.suffix == ".png" for image in data.images)


def write_tiny_cifar(root: Path) -> None:
    """Writes the files of CIFAR-10 with two pictures each, and teaches torchvision their checksums."""
    import pickle

    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        entry = {"data": rng.integers(0, 255, (2, 3072), np.uint8), "labels": [0, 1]}
        (folder / name).write_bytes(pickle.dumps(entry))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane", "automobile"]}))


@pytest.fixture(autouse=True)
def no_checksums(monkeypatch, request):
    if "torchvision" in request.node.name:
        from sightline.models import operators  # noqa: F401

        import torchvision.datasets.cifar as cifar  # isort: skip

        monkeypatch.setattr(cifar, "check_integrity", lambda *_: True)


@pytest.mark.parametrize(
    ("name", "message"),
    [("torchvision:Nope", "no data set 'Nope'"), ("torchvision:CocoDetection", "CocoDetection")],
)
def test_torchvision_data_that_cannot_be_had(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        load_data(name, root=tmp_path)


def test_torchvision_data_need_a_root():
    with pytest.raises(InputError, match="--root"):
        load_data("torchvision:CIFAR10")
