import json
import zipfile
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from sightline.runtime import Bundle, BundleError, InputSpec, ProviderError, Recognizer
from sightline.runtime.errors import InputError
from sightline.runtime.golden import check_golden
from sightline.runtime.manifest import Manifest, decode_manifest, encode_manifest
from tests.factories import picture, tiny_bundle, write_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "kiosk.bundle")


def zipped(folder: Path, method: int = zipfile.ZIP_STORED) -> Path:
    path = folder.with_suffix(".sightline")
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
    return path


def test_what_is_written_is_read(folder: Path) -> None:
    bundle = Bundle.load(folder)
    assert bundle.labels == ("blue", "green", "red")
    assert bundle.input_spec == InputSpec(32, 32, 1.0)
    assert len(bundle.bundle_id) == 64 and len(bundle.model_id) == 16
    assert bundle.variant().name == bundle.variant("fp32").name == "fp32"


def test_a_zip_is_the_same_bundle(folder: Path) -> None:
    assert Bundle.load(zipped(folder)).manifest == Bundle.load(folder).manifest


def test_every_file_is_guarded_against_one_changed_byte(folder: Path) -> None:
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 4
    random = np.random.default_rng(0)
    for file in files:
        data = file.read_bytes()
        for position in random.integers(0, len(data), 12):
            changed = bytearray(data)
            changed[position] ^= 1 << int(random.integers(8))
            file.write_bytes(changed)
            with pytest.raises(BundleError, match=r"kiosk\.bundle"):
                Bundle.load(folder)
        file.write_bytes(data)
    Bundle.load(folder)


@pytest.mark.parametrize("cut", [0, 1, -1])
def test_a_file_that_is_cut_or_grown_is_found(folder: Path, cut: int) -> None:
    file = folder / "model.fp32.onnx"
    data = file.read_bytes()
    file.write_bytes(data + b"x" if cut == 1 else data[:cut])
    with pytest.raises(BundleError, match=r"model\.fp32\.onnx"):
        Bundle.load(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "golden" / "00.png").unlink()
    with pytest.raises(BundleError, match=r"golden/00\.png is missing"):
        Bundle.load(folder)


def test_a_link_is_no_file(folder: Path, tmp_path: Path) -> None:
    model = folder / "model.fp32.onnx"
    model.rename(tmp_path / "elsewhere")
    model.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="missing"):
        Bundle.load(folder)


def test_a_newer_schema_is_refused_with_a_sentence(folder: Path) -> None:
    path = folder / "manifest.json"
    fields = json.loads(path.read_bytes()) | {"schema_version": 99, "surprise": True}
    path.write_text(json.dumps(fields))
    with pytest.raises(BundleError, match="schema 99, this program reads up to 1: update"):
        Bundle.load(folder)


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "a/../b", ".hidden", "a\\b", ""])
def test_a_path_that_leaves_the_bundle_is_refused(folder: Path, name: str) -> None:
    manifest = Bundle.load(folder).manifest
    fields = msgspec.to_builtins(manifest)
    fields["files"][name] = fields["files"]["model.fp32.onnx"]
    with pytest.raises(BundleError, match="not allowed"):
        decode_manifest(json.dumps(fields).encode(), "bundle")


def test_missing_foreign_and_compressed(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        Bundle.load(tmp_path / "nothing")
    (tmp_path / "text.sightline").write_text("no zip")
    with pytest.raises(BundleError, match="neither a folder nor"):
        Bundle.load(tmp_path / "text.sightline")
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        Bundle.load(tmp_path)
    with pytest.raises(BundleError, match="compressed"):
        Bundle.load(zipped(folder, zipfile.ZIP_DEFLATED))


def test_the_manifest_survives_writing_and_reading(folder: Path) -> None:
    manifest = Bundle.load(folder).manifest
    assert decode_manifest(encode_manifest(manifest), "again") == manifest
    other = replace(manifest, arch="other")
    assert decode_manifest(encode_manifest(other), "other").bundle_id != manifest.bundle_id


def test_an_unknown_variant_and_provider_name_those_there_are(folder: Path) -> None:
    bundle = Bundle.load(folder)
    with pytest.raises(BundleError, match="no variant 'int4': choose one of fp32"):
        bundle.variant("int4")
    with pytest.raises(InputError, match="unknown provider 'gpu'"):
        Recognizer(bundle, provider="gpu")
    with pytest.raises(ProviderError, match="'qnn' is not to be had"):
        Recognizer(bundle, provider="qnn")


def test_golden_answers_hold_here(folder: Path) -> None:
    result = check_golden(Recognizer(Bundle.load(folder)))
    assert result.images == 3 and result.failures == ()


def test_golden_answers_find_another_preprocessing_and_another_model(folder: Path, tmp_path: Path) -> None:
    bundle = Bundle.load(folder)
    files = {name: bundle.read(name) for name in bundle.manifest.files}
    write_bundle(tmp_path / "cropped", replace(bundle.manifest, input=InputSpec(32, 32, 0.5)), files)
    failures = check_golden(Recognizer(Bundle.load(tmp_path / "cropped"))).failures
    assert len(failures) == 3 and "preprocessing" in failures[0]


def test_a_file_that_is_no_model_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    manifest = Bundle.load(folder).manifest
    files = {name: Bundle.load(folder).read(name) for name in manifest.files} | {"model.fp32.onnx": b"not onnx"}
    write_bundle(tmp_path / "bad", _with_digests(manifest, files), files)
    with pytest.raises(BundleError, match="cannot open the model"):
        Recognizer(Bundle.load(tmp_path / "bad"))


def test_auto_says_what_it_tried(folder: Path) -> None:
    report = Recognizer(Bundle.load(folder)).provider
    assert report.requested == "auto" and report.obtained in ("cpu", "cuda") and report.reason


def test_recognize_agrees_with_its_batch(folder: Path) -> None:
    recognizer = Recognizer(Bundle.load(folder), threads=1)
    frames = [picture(label, 7) for label in recognizer.labels]
    batch = recognizer.recognize_batch(frames)
    for frame, joint in zip(frames, batch, strict=True):
        alone = recognizer.recognize(frame)
        assert alone.decision.label == joint.decision.label
        np.testing.assert_allclose(alone.probabilities, joint.probabilities, atol=1e-6)
    assert recognizer.recognize_batch([]) == []
    assert recognizer.embed(frames).shape == (3, 48)


def _with_digests(manifest: Manifest, files: dict[str, bytes]) -> Manifest:
    import hashlib

    from sightline.runtime.manifest import FileEntry

    entries = {name: FileEntry(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()}
    return replace(manifest, files=entries)
