"""`sightline tune` and what other commands say of its choice."""

import json

import pytest

from sightline.edge_app.cli import run
from sightline.runtime import Bundle
from sightline.runtime.tuned import find_tuned
from tests.factories import picture, two_variants


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return two_variants(tmp_path / "kiosk.bundle")


def test_tune_keeps_a_choice_beside_the_bundle_and_forgets_it(bundle, capsys):
    assert run(["tune", str(bundle), "--budget", "0.2s", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["place"] == f"{bundle}.tuned.json"
    assert printed["tuned"]["default"]["variant"] == "int8" and printed["tuned"]["trials"]
    assert run(["inspect", str(bundle)]) == 0
    assert "tuned: " in capsys.readouterr().out
    assert run(["tune", str(bundle), "--reset"]) == 0
    assert "forgot" in capsys.readouterr().out and find_tuned(Bundle.load(bundle)) is None
    assert run(["inspect", str(bundle)]) == 0
    assert "nothing is chosen: 'sightline tune" in capsys.readouterr().out


def test_the_table_names_every_candidate(bundle, capsys):
    assert run(["tune", str(bundle), "--budget", "0.2s"]) == 0
    said = capsys.readouterr().out
    assert "one picture at a time" in said and "the default" in said and "fp32" in said and "kept in" in said


def test_a_choice_that_does_not_hold_is_said_and_predict_goes_on(bundle, tmp_path, monkeypatch, capsys):
    import cv2

    assert run(["tune", str(bundle), "--budget", "0.2s"]) == 0
    monkeypatch.setattr("sightline.runtime.tuned.provider_versions", lambda: {"onnxruntime": "9.9.9"})
    cv2.imwrite(str(tmp_path / "red.png"), picture("red", 1))
    capsys.readouterr()
    assert run(["predict", str(bundle), str(tmp_path / "red.png")]) == 0
    said = capsys.readouterr()
    assert "red" in said.out and "does not hold any more" in said.err and "9.9.9" in said.err


def test_ctrl_c_leaves_the_old_choice(bundle, monkeypatch, capsys):
    assert run(["tune", str(bundle), "--budget", "0.2s"]) == 0
    before = bundle.with_name("kiosk.bundle.tuned.json").read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sightline.runtime.tune.interleave", interrupted)
    assert run(["tune", str(bundle), "--budget", "0.2s"]) == 130
    assert bundle.with_name("kiosk.bundle.tuned.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(["missing.bundle"], "does not exist"), (["BUNDLE", "--budget", "soon"], "is no length of time")],
)
def test_bad_words_are_one_sentence(bundle, capsys, words, sentence):
    assert run(["tune", *(str(bundle) if word == "BUNDLE" else word for word in words)]) == 1
    assert sentence in capsys.readouterr().err
