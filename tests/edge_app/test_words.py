"""A gallery searched by words: a toy pair of encoders becomes bundles, and texts find pictures, by the commands."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sightline.edge_app.cli import run
from sightline.runtime import Bundle
from sightline.runtime.words import Words
from tests.factories import COLOURS, photo_folder, tiny_bundle, tiny_model

tokenizers = pytest.importorskip("tokenizers")

WORDS = {"[PAD]": 0, "[UNK]": 1, "a": 2, "mug": 3, "red": 4, "green": 5, "blue": 6}
LENGTH = 8


def encoder(length: int | str = LENGTH, mask: bool = False, table: np.ndarray | None = None) -> ModelProto:
    """A text encoder that adds up a vector a word: the colour's, in every cell of the tiny image encoder's grid."""
    vectors = _table() if table is None else table
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", length])]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["text_embeds"], keepdims=0),
    ]
    if mask:
        inputs.append(helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", length]))
        nodes[1:] = [
            helper.make_node("Cast", ["attention_mask"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["real", "last"], ["weights"]),
            helper.make_node("Mul", ["rows", "weights"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "axis"], ["text_embeds"], keepdims=0),
        ]
    weights = [
        numpy_helper.from_array(vectors.astype(np.float32), "table"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
        numpy_helper.from_array(np.array([2], np.int64), "last"),
    ]
    outputs = [helper.make_tensor_value_info("text_embeds", TensorProto.FLOAT, ["batch", vectors.shape[1]])]
    graph = helper.make_graph(nodes, "words", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _table() -> np.ndarray:
    table = np.zeros((len(WORDS), 48))
    for colour, bgr in COLOURS.items():
        table[WORDS[colour]] = np.tile(np.array(bgr[::-1]) / 255.0 - 0.5, 16)
    return table


def write_pair(folder: Path, model: ModelProto) -> list[str]:
    onnx.save(model, folder / "text.onnx")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))
    return ["--text-encoder", str(folder / "text.onnx"), "--tokenizer", str(folder / "tokenizer.json")]


@pytest.fixture
def shop(tmp_path):
    tiny_bundle(tmp_path / "clip.bundle")
    photos = photo_folder(tmp_path / "photos", per_class=2)
    assert (
        run(["gallery", "build", str(tmp_path / "shop"), str(photos), "--bundle", str(tmp_path / "clip.bundle")]) == 0
    )
    return tmp_path


def search(shop: Path, text: str, *more: str) -> int:
    words = ["--text", text, "--words", str(shop / "words.bundle")]
    return run(["gallery", "search", str(shop / "shop"), *words, *more])


@pytest.mark.parametrize(("length", "mask"), [(LENGTH, False), ("tokens", False), (LENGTH, True)])
def test_words_find_pictures_through_the_commands(shop, capsys, length, mask):
    pair = write_pair(shop, encoder(length, mask))
    joint = ["--joint", str(shop / "clip.bundle"), "--out", str(shop / "words.bundle"), "--json"]
    assert run(["export", *pair, *joint]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["embedding"]["model_id"] == Bundle.load(shop / "clip.bundle").model_id
    assert told["text"]["fixed"] is (length == LENGTH) and (told["text"]["mask"] is not None) is mask
    for colour in COLOURS:
        assert search(shop, f"a {colour.upper()} mug", "-k", "2", "--json") == 0
        matches = json.loads(capsys.readouterr().out)["matches"]
        assert [match["label"] for match in matches] == [colour] * 2
    assert run(["verify", str(shop / "words.bundle")]) == 0
    assert "3 of 3 golden" in capsys.readouterr().out
    assert run(["inspect", str(shop / "words.bundle")]) == 0
    assert "words" in capsys.readouterr().out


def test_what_does_not_fit_is_one_sentence(shop, tmp_path, capsys):
    pair = write_pair(shop, encoder())
    joint, out = ["--joint", str(shop / "clip.bundle")], ["--out", str(shop / "words.bundle")]
    assert run(["export", *pair, *joint, *out]) == 0
    capsys.readouterr()
    # A gallery of another model.
    other = tmp_path / "other.bundle"
    tiny_bundle(other, ("red", "blue"))
    photos = str(shop / "photos")
    assert run(["gallery", "build", str(tmp_path / "else"), photos, "--bundle", str(other)]) == 0
    words = ["--text", "red", "--words", str(shop / "words.bundle")]
    cases = [
        (["gallery", "search", str(tmp_path / "else"), *words], 1, "model"),
        (["predict", str(shop / "words.bundle"), str(shop / "photos")], 1, "made for words"),
        (["gallery", "search", str(shop / "shop"), "--text", "red", "--words", str(other)], 1, "made for single-label"),
        (["gallery", "search", str(shop / "shop"), "--text", " ", *words[2:]], 1, "empty"),
        (["gallery", "search", str(shop / "shop"), "--text", "red"], 2, "--words"),
        (["gallery", "search", str(shop / "shop"), "x.png", *words], 2, "either IMAGE"),
        (["export", *pair, *out], 2, "--joint"),
    ]
    for command, code, said in cases:
        assert run(command) == code, command
        told = capsys.readouterr().err
        assert said in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (encoder(table=np.ones((len(WORDS), 48))), "the same embedding"),
        (encoder(table=np.ones((len(WORDS), 40))), "40 values"),
        (encoder(table=np.full((len(WORDS), 48), np.nan)), "not finite"),
    ],
)
def test_an_encoder_that_cannot_be_the_other_half_is_refused(shop, capsys, model, said):
    pair = write_pair(shop, model)
    assert run(["export", *pair, "--joint", str(shop / "clip.bundle"), "--out", str(shop / "words.bundle")]) == 1
    assert said in capsys.readouterr().err
    assert not (shop / "words.bundle").exists()


def test_an_image_net_and_a_broken_tokenizer_are_refused(shop, capsys):
    pair = write_pair(shop, encoder())
    out = ["--joint", str(shop / "clip.bundle"), "--out", str(shop / "words.bundle")]
    (shop / "tokenizer.json").write_text("{}")
    assert run(["export", *pair, *out]) == 1
    assert "tokenizer" in capsys.readouterr().err
    pair = write_pair(shop, encoder())
    (shop / "text.onnx").write_bytes(tiny_model())
    assert run(["export", *pair, *out]) == 1
    assert "a text encoder takes" in capsys.readouterr().err


def test_a_changed_tokenizer_is_found(shop):
    pair = write_pair(shop, encoder())
    assert run(["export", *pair, "--joint", str(shop / "clip.bundle"), "--out", str(shop / "words.bundle")]) == 0
    assert Words(Bundle.load(shop / "words.bundle")).tokens("a red") == (2, 4)
    file = shop / "words.bundle" / "tokenizer.json"
    file.write_bytes(file.read_bytes().replace(b'"red"', b'"rad"'))
    assert run(["verify", str(shop / "words.bundle")]) == 1


def test_without_tokenizers_one_line_says_what_to_install(shop, monkeypatch, capsys):
    pair = write_pair(shop, encoder())
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    assert run(["export", *pair, "--joint", str(shop / "clip.bundle"), "--out", str(shop / "words.bundle")]) == 1
    assert "pip install 'sightline[words]'" in capsys.readouterr().err
