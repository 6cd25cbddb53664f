from pathlib import Path

import pytest

from sightline.runtime import InputError
from sightline.runtime.dataset import LabelledImage, list_images, match_labels, read_dataset, read_labels
from tests.factories import photo_folder


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    images = read_dataset(photo_folder(tmp_path / "photos", 2))
    assert [(image.label, image.path.name) for image in images] == [
        (label, name) for label in ("blue", "green", "red") for name in ("00.png", "01.png")
    ]


def test_a_csv_is_relative_to_itself_and_keeps_its_columns(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file,kind,label\na/b.jpg,fruit,7\n")
    assert read_dataset(tmp_path / "list.csv") == [LabelledImage(tmp_path / "a" / "b.jpg", "7", {"kind": "fruit"})]
    assert read_dataset(tmp_path / "list.csv", "kind")[0].label == "fruit"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no column 'file', only none"),
        ("file,name\na.jpg,b\n", "no column 'label', only file, name; name another with --label-column"),
        ("file,label\n", "is empty"),
        ("file,label\na.jpg,\n", "line 2 of the CSV lacks its label"),
        ("file,label\n,a\n", "line 2 of the CSV lacks its file"),
        (b"file,label\n\xff\xfe,a\n", "cannot be read as a CSV"),
    ],
)
def test_a_csv_that_cannot_be_used(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=message):
        read_dataset(path)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_dataset(tmp_path / "none")
    with pytest.raises(InputError, match="is empty: expected at least a photo in a class folder"):
        read_dataset(tmp_path)
    with pytest.raises(InputError, match="holds no image"):
        list_images([tmp_path])


def test_labels_are_one_a_line_and_each_once(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("zebra\n cat \n\ndog\n")
    assert read_labels(path) == ["zebra", "cat", "dog"]
    path.write_text("cat\ncat\n")
    with pytest.raises(InputError, match="'cat' twice"):
        read_labels(path)


def test_indices_become_names_only_where_no_name_fits() -> None:
    def named(*labels: str) -> list[LabelledImage]:
        return [LabelledImage(Path("x"), label) for label in labels]

    assert [image.label for image in match_labels(named("1", "0"), ["cat", "dog"])] == ["dog", "cat"]
    assert match_labels(named("1", "0"), ["0", "1"]) == named("1", "0")
    assert match_labels(named("mug"), ["cat"]) == named("mug")
    with pytest.raises(InputError, match="index 2 lies outside the 2 labels"):
        match_labels(named("2"), ["cat", "dog"])
