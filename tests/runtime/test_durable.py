import os
from pathlib import Path

import pytest

from sightline.runtime import durable


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    durable.write_file(path, b"old")
    durable.write_file(path, b"new")
    assert path.read_bytes() == b"new" and [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file(tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    durable.write_file(path, b"old")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full) if call == "fsync" else monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        durable.write_file(path, b"new")
    assert path.read_bytes() == b"old" and [path] == list(tmp_path.iterdir())


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with durable.new_folder(tmp_path / "bundle") as staging:
            (staging / "inside").mkdir()
            (staging / "inside" / content).write_text(content)
    assert [file.name for file in (tmp_path / "bundle" / "inside").iterdir()] == ["new"]
    assert [tmp_path / "bundle"] == list(tmp_path.iterdir())


def test_a_failure_inside_leaves_the_old_folder(tmp_path: Path) -> None:
    with durable.new_folder(tmp_path / "bundle") as staging:
        (staging / "old").touch()
    with pytest.raises(OSError, match="full"), durable.new_folder(tmp_path / "bundle") as staging:
        (staging / "new").touch()
        raise OSError("full")
    assert [file.name for file in (tmp_path / "bundle").iterdir()] == ["old"]
    assert [tmp_path / "bundle"] == list(tmp_path.iterdir())
