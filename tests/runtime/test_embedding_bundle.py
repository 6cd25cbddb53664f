"""A bundle whose task is look-up: the gallery alone answers, trained labels are nothing special."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sightline.edge_app.cli import run
from sightline.runtime import Bundle, Gallery, Recognizer
from sightline.runtime.errors import BundleError
from sightline.runtime.evaluation import evaluate_answers
from sightline.runtime.manifest import EMBEDDING, encode_manifest
from tests.factories import photo_folder, picture, tiny_bundle


def bundle_for(folder: Path, task: str) -> Path:
    tiny_bundle(folder)
    manifest = Bundle.load(folder).manifest
    changed = encode_manifest(manifest).replace(b'"single-label"', json.dumps(task).encode())
    if task == EMBEDDING:
        changed = encode_manifest(replace(manifest, task=task))
    (folder / "manifest.json").write_bytes(changed)
    return folder


@pytest.fixture
def recognizer(tmp_path) -> Recognizer:
    return Recognizer(Bundle.load(bundle_for(tmp_path / "kiosk.bundle", EMBEDDING)), "cpu", threads=1)


def test_without_a_gallery_all_is_unknown(recognizer):
    answer = recognizer.recognize(picture("red", 1))
    assert not answer.decision.known and answer.top == () and answer.decision.confidence == 0.0


def test_what_the_gallery_holds_is_named_whatever_the_classes(recognizer, tmp_path):
    with Gallery.open(tmp_path / "shop.gallery", model=recognizer.model_id) as gallery:
        for label in ("red", "blue"):
            gallery.add(f"my {label}", recognizer.recognize(picture(label, 1)).embedding, crop=picture(label, 1))
        answers = [recognizer.recognize(picture(label, 2), gallery) for label in ("red", "blue")]
    assert [answer.decision.label for answer in answers] == ["my red", "my blue"]
    assert {answer.decision.decided_by for answer in answers} == {"gallery"}
    manifest, names = recognizer.bundle.manifest, ["my red", "my blue"]
    figures = evaluate_answers(answers, names, manifest, "fp32", set(names))
    assert figures.retrieval.recall_at_1 == 1.0 and figures.unknown.false_reject_rate == 0.0


def test_the_commands_take_it(tmp_path, capsys):
    bundle = str(bundle_for(tmp_path / "kiosk.bundle", EMBEDDING))
    photos = photo_folder(tmp_path / "photos", per_class=2)
    assert run(["predict", bundle, str(photos / "red")]) == 0
    assert capsys.readouterr().out.count("unknown") == 2
    assert run(["eval", bundle, str(photos), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top1"] == 1.0


def test_a_task_that_this_program_does_not_know_is_refused(tmp_path):
    with pytest.raises(BundleError, match="its task 'captions' is none of single-label, multi-label, embedding"):
        Bundle.load(bundle_for(tmp_path / "kiosk.bundle", "captions"))
