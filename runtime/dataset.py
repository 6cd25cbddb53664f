"""Labelled photos on disk: a folder of class folders, or a CSV file.

`read_dataset` gives the same list for both, sorted and checked; nothing is decoded here. torchvision data
sets by name belong to the workstation (`sightline.export`).
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .errors import InputError
from .preprocess import IMAGE_SUFFIXES


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One photo of a data set.

    Attributes:
        path: The file, absolute or relative to the working directory.
        label: Its label as a string; where a photo may have several, all of them as one text.
        metadata: The other columns of its CSV row; empty for folders.
        labels: All its labels, sorted, where a photo may have several or none; else None.
    """

    path: Path
    label: str
    metadata: dict[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All its labels, one or several."""
        return (self.label,) if self.labels is None else self.labels


def read_dataset(
    data: str | Path, label_column: str = "label", file_column: str = "file", separator: str | None = None
) -> list[LabelledImage]:
    """List the labelled photos of a folder of class folders or of a CSV file.

    Args:
        data: `DATA/label/**/photo.jpg`, or a CSV whose file column is relative to the CSV's own folder.
        label_column: The CSV column that holds the label; read as a string.
        file_column: The CSV column that holds the file.
        separator: What stands between the labels of a photo where it may have several; rows of one file are then
            taken together, and an empty cell means none. None for one label a photo.

    Returns:
        The photos, ordered by file for folders and by row for CSV files; at least one.

    Raises:
        InputError: The path is missing, holds no labelled photo, or lacks a column.
    """
    path = Path(data)
    if not path.exists():
        raise InputError(f"data '{data}' does not exist: expected a folder of class folders or a CSV file")
    if separator is not None and not separator.strip():
        raise InputError("the label separator is empty: expected a character like ; or |")
    columns = (label_column, file_column)
    images = _from_folder(path) if path.is_dir() else _from_csv(path, *columns, separator is not None)
    if not images:
        wanted = "a photo in a class folder (DATA/label/photo.jpg)" if path.is_dir() else "a row"
        raise InputError(f"data '{data}' is empty: expected at least {wanted}")
    return images if separator is None else _together(images, separator)


def list_images(paths: Iterable[str | Path]) -> list[Path]:
    """Expand files and folders to picture files, folders recursively and in order; a file is kept unseen.

    Raises:
        InputError: A folder holds no picture.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        inside = _images_below(path) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"folder '{path}' holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
        found.extend(inside)
    return found


def read_labels(path: str | Path) -> list[str]:
    """Read a label list: one name a line, in the order of the model's outputs.

    Raises:
        InputError: The file is missing, empty, not UTF-8 text, or names a label twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"labels '{path}' cannot be read: expected a text file, one name a line ({error})") from error
    labels = [line.strip() for line in lines if line.strip()]
    if not labels:
        raise InputError(f"labels '{path}' is empty: expected one name a line")
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise InputError(f"labels '{path}' names {twice[0]!r} twice: each output needs a name of its own")
    return labels


def match_labels(images: Sequence[LabelledImage], labels: Sequence[str]) -> list[LabelledImage]:
    """Name images by a model's labels where the data set holds their indices.

    Names win: only where no label of the data is a name of the model and all are integers that index
    `labels` are they taken as indices.

    Raises:
        InputError: An integer label lies outside the list.
    """
    known = set(labels)
    if any(image.label in known for image in images):
        return list(images)
    if not all(image.label.strip().isdecimal() for image in images):
        return list(images)
    outside = next((image.label for image in images if int(image.label) >= len(labels)), None)
    if outside is not None:
        raise InputError(f"label index {outside} lies outside the {len(labels)} labels of the model")
    return [replace(image, label=labels[int(image.label)]) for image in images]


def _from_folder(folder: Path) -> list[LabelledImage]:
    try:
        classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise InputError(f"data '{folder}' cannot be listed: {error.strerror}") from error
    return [LabelledImage(path, entry.name) for entry in classes for path in _images_below(entry)]


def _images_below(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _together(images: Iterable[LabelledImage], separator: str) -> list[LabelledImage]:
    first: dict[Path, LabelledImage] = {}
    names: dict[Path, set[str]] = {}
    for image in images:
        first.setdefault(image.path, image)
        parts = {part.strip() for part in image.label.split(separator)} - {""}
        names.setdefault(image.path, set()).update(parts)
    return [with_labels(image, names[path], separator) for path, image in first.items()]


def with_labels(image: LabelledImage, labels: Iterable[str], separator: str) -> LabelledImage:
    """Give a photo several labels or none."""
    ordered = tuple(sorted(labels))
    return replace(image, label=separator.join(ordered), labels=ordered)


def _from_csv(path: Path, label_column: str, file_column: str, none: bool) -> list[LabelledImage]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or []
            for wanted, option in ((file_column, ""), (label_column, "; name another with --label-column")):
                if wanted not in columns:
                    raise InputError(f"'{path}' has no column '{wanted}', only {', '.join(columns) or 'none'}{option}")
            return [_from_row(row, path.parent, label_column, file_column, reader.line_num, none) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"'{path}' cannot be read as a CSV file: {error}") from error


def _from_row(
    row: dict[str, str], folder: Path, label_column: str, file_column: str, line: int, none: bool
) -> LabelledImage:
    file, label = row.get(file_column), row.get(label_column) or ""
    if not file or not (label.strip() or none):
        raise InputError(
            f"line {line} of the CSV lacks its {'label' if file else 'file'}: fill it in or delete the row"
        )
    rest = {
        key: value for key, value in row.items() if key not in (file_column, label_column) and isinstance(value, str)
    }
    return LabelledImage(folder / file, label.strip(), rest)
