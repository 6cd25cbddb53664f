"""Features through ONNX Runtime: those of torch within the stated tolerance, or None."""

import numpy as np
import pytest
import torch

from sightline.export import features, onnx_features
from sightline.export.features import extract_features
from sightline.export.onnx_features import TOLERANCE, features_by_onnx
from sightline.models import build_model
from sightline.runtime.preprocess import InputSpec
from sightline.runtime.reporter import QuietReporter
from tests.export.nets import draw_folder

SPEC = InputSpec(32, 32, 1.0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("photos") / "drawn", 5)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model("mobilenet_v1_x0_25", 4, 32).to(memory_format=torch.channels_last).eval()


def test_features_are_those_of_torch(model, photos):
    expected = extract_features(model, photos, SPEC)
    found = features_by_onnx(model, photos, SPEC, QuietReporter())
    assert found.shape == (len(photos), model.feature_dim) and found.dtype == np.float32
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_many_photos_take_this_way_and_the_mode_stays(model, photos, monkeypatch):
    taken = []
    answer = np.ones((len(photos), model.feature_dim), np.float32)
    monkeypatch.setattr(onnx_features, "features_by_onnx", lambda *_: taken.append(model.training) or answer)
    monkeypatch.setattr(features, "WORTH_AN_EXPORT", len(photos))
    assert np.array_equal(extract_features(model.train(), photos, SPEC), answer)
    assert taken == [False] and model.training
    extract_features(model.eval(), photos[1:], SPEC)
    assert len(taken) == 1


@pytest.mark.parametrize("fault", ["no export", "no run", "other answers"])
def test_a_trunk_that_onnx_has_not_right_goes_through_torch(model, photos, monkeypatch, fault):
    expected = extract_features(model, photos, SPEC)

    def refuse(*_):
        raise RuntimeError("not this time")

    def other(_, spec, outputs):
        torch.manual_seed(1)
        stranger = build_model("mobilenet_v1_x0_25", 4, 32).eval()
        return export(onnx_features._Trunk(stranger).eval(), spec, outputs)

    export = onnx_features.trace_onnx
    faults = {"no export": ("trace_onnx", refuse), "no run": ("_run", refuse), "other answers": ("trace_onnx", other)}
    monkeypatch.setattr(onnx_features, *faults[fault])
    monkeypatch.setattr(features, "WORTH_AN_EXPORT", 1)
    assert np.array_equal(extract_features(model, photos, SPEC), expected)
