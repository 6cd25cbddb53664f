"""Bring your own model: files as other tools write them become bundles, others are refused in one sentence."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from sightline.edge_app.cli import run
from sightline.export.foreign import ForeignOnnx, source_from_onnx
from sightline.export.onnx_adopt import add_embedding_head, adopt_trunk
from sightline.export.onnx_file import read_onnx_file
from sightline.export.onnx_graph import replace_nodes, serialize
from sightline.export.onnx_probe import Probe
from sightline.export.onnx_settings import Settings, parse_figures, parse_size, read_settings, settle
from sightline.export.parity import check_parity
from sightline.export.qat_graph import TrainedGraph
from sightline.export.quantize_input import fold_normalization
from sightline.export.quantize_plan import make_plan
from sightline.export.quantize_ranges import find_ranges, observe
from sightline.export.quantize_writer import WeightFormat, write_qdq
from sightline.export.saturation_audit import Walk
from sightline.runtime import Bundle, Recognizer, read_image
from sightline.runtime.errors import InputError
from sightline.runtime.preprocess import prepare_batch
from sightline.runtime.session import open_session
from tests.export.foreign_nets import CAFFE, EMBEDDER, TENSORFLOW, TIMM, Style, fitted, net, save
from tests.export.nets import LABELS, SPEC, draw_folder, images, small_graph

STYLES = {"timm": TIMM, "tensorflow": TENSORFLOW, "caffe": CAFFE}


def settings(style: Style, **changes: object) -> Settings:
    order = "bgr" if style.bgr else None
    return replace(Settings(style.mean, style.std, style.scale, order, None, 1.0), **changes)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    draw_folder(folder / "calibration", 10)
    draw_folder(folder / "evaluation", 6, first_seed=900)
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    return folder


@pytest.mark.parametrize("name", STYLES)
def test_the_adopted_graph_answers_as_the_file_does_at_every_batch(tmp_path, name):
    style, x = STYLES[name], images(5)
    model = net(style)
    file = read_onnx_file(save(model, tmp_path / "net.onnx"))
    trunk = adopt_trunk(file, settle(file, settings(style)), 4)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    expected = np.concatenate([session.run(None, {entry: style.feed(image)})[0] for image in x])
    adopted = ort.InferenceSession(trunk.model.SerializeToString(), providers=["CPUExecutionProvider"])
    for size in (1, 2, 5):
        features, logits = adopted.run(["features", "logits"], {"image": x[:size]})
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        np.testing.assert_allclose(raised / raised.sum(axis=1, keepdims=True), expected[:size], atol=1e-5)
        assert features.shape == (size, 24)
    kinds = [node.op_type for node in trunk.model.graph.node]
    assert trunk.heads.squashed == "Softmax" and kinds.count("HardSwish") == 1 and kinds.count("Gemm") == 1
    assert not {"BatchNormalization", "Clip", "MatMul", "Gather", "Reshape", "Identity"} & set(kinds)
    assert kinds.count("Transpose") == 1


@pytest.mark.parametrize("name", STYLES)
def test_a_foreign_file_becomes_a_proven_bundle(photos, tmp_path, name, capsys):
    style = STYLES[name]
    train = draw_folder(tmp_path / "train", 20, first_seed=300)
    file = save(fitted(style, train), tmp_path / "vendor.onnx")
    words = ["--mean", ",".join(map(str, style.mean)), "--std", ",".join(map(str, style.std)), "--scale", style.scale]
    words += ["--crop", 1, "--channel-order", "bgr" if style.bgr else "rgb", "--max-drop", 30]
    data = ["--calibration", photos / "calibration", "--data", photos / "evaluation", "--labels", photos / "labels.txt"]
    out = tmp_path / "kiosk.bundle"
    code = run([str(word) for word in ["export", "--onnx", file, *data, *words, "--out", out, "--json"]])
    said = capsys.readouterr()
    assert code == 0, said.err
    printed = json.loads(said.out)
    assert printed["parity"]["agreement"] == 1 and printed["parity"]["logit_difference"] < 1e-4
    assert printed["calibration"]["images"] == 40 and printed["variants"][0]["top1"]["images"] == 24
    int8 = printed["variants"][1]
    assert int8["fusion"]["int8_convolutions"] == 2 and int8["fusion"]["float_convolutions"] == []
    bundle = Bundle.load(out)
    assert bundle.manifest.arch == "vendor" and bundle.labels == LABELS and run(["verify", str(out)]) == 0
    right = [
        Recognizer(bundle, "cpu", "fp32", 1).recognize(read_image(path)).top[0].label == path.parent.name
        for path in sorted((photos / "evaluation").rglob("*.png"))
    ]
    assert np.mean(right) == pytest.approx(printed["variants"][0]["top1"]["value"]) and np.mean(right) > 0.5


def test_one_folder_is_parted_into_calibration_and_evaluation(photos, tmp_path):
    file = save(net(), tmp_path / "net.onnx")
    foreign = ForeignOnnx(str(file), str(photos / "labels.txt"), str(photos / "calibration"), settings=settings(TIMM))
    source = source_from_onnx(foreign)
    assert len(source.calibration.images) == len(source.evaluation) == 20
    assert not {one.path for one in source.calibration.images} & {one.path for one in source.evaluation}


def test_an_embedding_net_knows_classes_by_their_calibration_photos(photos, tmp_path):
    file = save(net(EMBEDDER), tmp_path / "embedder.onnx")
    words = str(photos / "labels.txt"), str(photos / "calibration"), str(photos / "evaluation")
    source = source_from_onnx(ForeignOnnx(str(file), *words, settings=settings(EMBEDDER), embedding=True))
    session = open_session(serialize(source.model.graph), "cpu", 1)
    x = prepare_batch([read_image(one.path) for one in source.evaluation], SPEC)
    assert check_parity(source.model, session, x[:6]).least_cosine > 0.99999
    logits, embeddings = session.run(x)
    assert logits.shape == (24, 4) and np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    assert np.mean(logits.argmax(axis=1) == [LABELS.index(one.label) for one in source.evaluation]) > 0.4
    with pytest.raises(InputError, match=r"no calibration photo shows 'moon' \(1 of 5 labels have none\)"):
        (tmp_path / "more.txt").write_text("\n".join([*LABELS, "moon"]))
        source_from_onnx(
            ForeignOnnx(str(file), str(tmp_path / "more.txt"), *words[1:], settings=settings(EMBEDDER), embedding=True)
        )


def test_a_file_of_pixels_whose_names_are_taken_is_adopted(tmp_path):
    model, x = small_graph("mobilenet_v2"), images(3)
    file = read_onnx_file(save(model, tmp_path / "net.onnx"))
    trunk = adopt_trunk(file, settle(file, Settings()), 4)
    expected = Probe(model, ["logits"]).run(x)["logits"]
    np.testing.assert_allclose(Probe(trunk.model, ["logits"]).run(x)["logits"], expected, atol=1e-4)
    with pytest.raises(InputError, match="takes uint8 pixels: leave out --mean, --std and --scale"):
        settle(file, Settings(mean=(0.5,)))


def padded(model: ModelProto, how: str) -> ModelProto:
    """The file with its paddings in words, as TensorFlow says them, and a pooling more."""
    for node in model.graph.node:
        kept = [entry for entry in node.attribute if entry.name != "pads"]
        if node.op_type == "Conv":
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("auto_pad", how)])
    second = next(node for node in model.graph.node if node.output[0] == "second")
    second.input[0] = "maxima"
    pool = helper.make_node("MaxPool", ["swished"], ["maxima"], kernel_shape=[2, 2], strides=[2, 2], auto_pad=how)
    nodes = list(model.graph.node)
    nodes.insert(nodes.index(second), pool)
    replace_nodes(model, nodes)
    return model


@pytest.mark.parametrize("how", ["SAME_UPPER", "SAME_LOWER"])
def test_padding_in_words_is_walked_and_trained_as_it_is_run(tmp_path, how):
    # 30 pixels: the first convolution's border is uneven, the pooling's too.
    style, x = replace(TIMM, size=30), images(2)[:, :30, :30]
    file = read_onnx_file(save(padded(net(style), how), tmp_path / "net.onnx"))
    trunk = adopt_trunk(file, settle(file, settings(style)), 4)
    expected = trunk.original.run(x)["scores"]
    np.testing.assert_allclose(Probe(trunk.model, ["logits"]).run(x)["logits"], expected, atol=1e-3)
    model = fold_normalization(add_embedding_head(trunk, np.zeros(24, np.float32), np.eye(24, 8, dtype=np.float32)))
    plan = make_plan(model)
    with torch.inference_mode():
        trained = TrainedGraph(model, make_plan(model, {node.name for node in model.graph.node}), {}, WeightFormat())
        came = {name: value.numpy() for name, value in trained(torch.from_numpy(x)).items()}
    for name in ("logits", "embedding"):
        np.testing.assert_allclose(came[name], Probe(model, [name]).run(x)[name], atol=1e-4)
    ranges = find_ranges(observe(model, lambda: [x], plan.rounded, plan.audible), "minmax")
    written = write_qdq(model, plan, ranges, WeightFormat(127))
    walk = Walk(written)
    assert any(layer.paired.can_overflow for layer in walk.layers)
    walk.logits(x, saturate=True)
    np.testing.assert_allclose(
        walk.logits(x, saturate=False), Probe(written, ["logits"], integers=False).run(x)["logits"], atol=1e-4
    )


# --- what is refused -----------------------------------------------------------------------------------------


def changed(model: ModelProto, kind: str) -> ModelProto:
    """A file with one fault."""
    graph = model.graph
    if kind == "two inputs":
        graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 4]))
        graph.node.append(helper.make_node("Identity", ["mask"], ["unused"]))
    elif kind == "nan":
        weight = next(one for one in graph.initializer if one.name == "conv2")
        value = numpy_helper.to_array(weight).copy()
        value[3, 1] = np.nan
        weight.CopyFrom(numpy_helper.from_array(value, "conv2"))
    elif kind == "custom":
        graph.node[3].domain = "com.vendor"
        model.opset_import.append(helper.make_opsetid("com.vendor", 1))
    elif kind == "unheard":
        graph.node[3].op_type = "SuperClip"
    elif kind == "rank":
        del graph.input[0].type.tensor_type.shape.dim[0]
    elif kind == "unknown":
        graph.input[0].type.tensor_type.ClearField("shape")
    elif kind == "opset":
        model.opset_import[0].version = 4
    elif kind == "future":
        model.opset_import[0].version = 99
    elif kind == "type":
        graph.input[0].type.tensor_type.elem_type = 77
    elif kind == "grey":
        graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    elif kind == "half":
        value = numpy_helper.to_array(graph.initializer[0]).astype(np.float16)
        graph.initializer[0].CopyFrom(numpy_helper.from_array(value, graph.initializer[0].name))
    elif kind == "quantized":
        graph.node[1].op_type = "QuantizeLinear"
    elif kind == "cut":
        graph.initializer[0].raw_data = graph.initializer[0].raw_data[:-5]
    return model


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("two inputs", "has 2 inputs ('input', 'mask'), expected one image"),
        ("nan", "has weights that are not finite (9 of 5184 in 'conv2')"),
        ("custom", "uses 'com.vendor::Clip', an operator outside the ONNX standard"),
        ("unheard", "uses 'SuperClip', an operator outside the ONNX standard"),
        ("rank", "has 3 dimensions, expected [batch, 3, height, width]"),
        ("unknown", "has no shape, expected [batch, 3, height, width]"),
        ("opset", "is of ONNX opset 4, expected 7 to 22"),
        ("future", "is of ONNX opset 99, expected 7 to 22"),
        ("type", "is of type 77, expected float32 or uint8"),
        ("grey", "has shape [1, 1, 32, 32], expected three channels"),
        ("half", "has float16 weights"),
        ("quantized", "is quantized already (QuantizeLinear)"),
        ("cut", "is damaged at weight 'conv1'"),
    ],
)
def test_a_faulty_file_is_one_sentence_and_no_bundle(photos, tmp_path, capsys, kind, sentence):
    file = save(changed(net(), kind), tmp_path / "net.onnx")
    refused(photos, tmp_path, capsys, {"onnx": file}, sentence)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"onnx": "missing.onnx"}, "cannot be read: No such file"),
        ({"onnx": "LABELS"}, "is no ONNX file"),
        ({"onnx": "EMPTY"}, "is no ONNX file"),
        ({"onnx": "OPEN"}, "its height and width are open: give them with --size"),
        ({"onnx": "EXTERNAL"}, "keeps its weights in a second file ('net.data')"),
        ({"size": "64"}, "takes images of [32, 32], not 64x64"),
        ({"size": "big"}, "'big' is no size"),
        ({"mean": None}, "does not say the mean of its input: give --mean and --std"),
        ({"mean": "0.5,0.5"}, "--mean has 2 figures, expected one, or three"),
        ({"mean": "black"}, "'black' is no list of numbers"),
        ({"std": "0"}, "--std and --scale must be above zero, not 0"),
        ({"labels": "FIVE"}, "gives 'output' 4 values a photo, the labels are 5"),
        ({"calibration": "FEW"}, "has 8 usable photos: at least 16 are needed"),
        ({"calibration": "SHARED"}, "is both a calibration and an evaluation photo"),
        ({"calibration": "FLAT"}, "is empty: expected at least a photo in a class folder"),
        ({"target": "tpu"}, "unknown target 'tpu': choose one of"),
        ({"preprocessing": "LABELS"}, "cannot be read as JSON"),
    ],
)
def test_bad_words_are_one_sentence_and_no_bundle(photos, tmp_path, capsys, changes, sentence):
    made = {value: make(value, photos, tmp_path) for value in changes.values() if value is not None}
    refused(photos, tmp_path, capsys, {key: made.get(value, value) for key, value in changes.items()}, sentence)


def make(what: object, photos: Path, folder: Path) -> object:
    place = folder / str(what).lower()
    if what == "LABELS":
        return photos / "labels.txt"
    if what == "EMPTY":
        place.write_bytes(b"")
    elif what == "OPEN":
        save(net(replace(TIMM, size="side")), place)
    elif what == "EXTERNAL":
        onnx.save(net(), place, save_as_external_data=True, location="net.data", size_threshold=0)
    elif what == "FIVE":
        place.write_text("\n".join([*LABELS, "moon"]))
    elif what == "FEW":
        draw_folder(place, 2)
    elif what == "SHARED":
        draw_folder(place, 6, first_seed=902)
    elif what == "FLAT":
        place.mkdir()
        (place / "a.png").write_bytes((photos / "evaluation" / "circle" / "00.png").read_bytes())
    else:
        return what
    return place


def refused(photos: Path, folder: Path, capsys: pytest.CaptureFixture[str], changes: dict, sentence: str) -> None:
    if "onnx" not in changes:
        changes["onnx"] = save(net(), folder / "net.onnx")
    given = {
        "labels": photos / "labels.txt",
        "calibration": photos / "calibration",
        "data": photos / "evaluation",
        "mean": "0.485,0.456,0.406",
        "std": "0.229,0.224,0.225",
        "out": folder / "kiosk.bundle",
    } | changes
    code = run(["export", *(str(part) for key, value in given.items() if value for part in (f"--{key}", value))])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sightline: ")]
    assert code == 1 and len(said) == 1 and sentence in said[0], said
    assert not (folder / "kiosk.bundle").exists() and not list(folder.glob(".kiosk*"))


@pytest.mark.parametrize("words", [["--onnx", "a.onnx"], ["run", "--onnx", "a.onnx"], ["--mean", "0"]])
def test_wrong_usage_is_two(tmp_path, capsys, words):
    assert run(["export", *words, "--out", str(tmp_path / "kiosk.bundle")]) == 2
    assert "--onnx" in capsys.readouterr().err


# --- what the notes of a file say ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ({"mean": "[0.5, 0.5, 0.5]", "std": "0.5"}, Settings((0.5,) * 3, (0.5,))),
        (
            {"model_info mean_values": "123.675 116.28 103.53", "model_info scale_values": "58.4 57.1 57.4"},
            Settings((123.675, 116.28, 103.53), (58.4, 57.1, 57.4), 1.0, "bgr"),
        ),
        (
            {"model_info mean_values": "0", "model_info reverse_input_channels": "YES"},
            Settings((0.0,), (1.0,), 1.0, "rgb"),
        ),
        ({"imgsz": "[224, 224]", "task": "classify"}, Settings((0.0,), (1.0,), 1 / 255, "rgb", (224, 224), 1.0)),
        (
            {
                "pretrained_cfg": {
                    "mean": [0.1, 0.2, 0.3],
                    "std": [1, 1, 1],
                    "input_size": [3, 240, 320],
                    "crop_pct": 0.9,
                }
            },
            Settings((0.1, 0.2, 0.3), (1.0,) * 3, None, None, (240, 320), 0.9),
        ),
        (
            {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"shortest_edge": 256}, "crop_size": 224},
            Settings((0.5,) * 3, (0.5,) * 3, 1 / 255, None, (224, 224), 0.875),
        ),
        (
            {"image_mean": [0.5], "do_normalize": False, "do_rescale": False, "size": {"height": 96, "width": 128}},
            Settings((0.0,), (1.0,), 1.0, None, (96, 128), 1.0),
        ),
        ({"author": "somebody"}, Settings()),
    ],
)
def test_notes_are_read_in_the_forms_of_other_tools(notes, expected):
    assert read_settings(notes) == expected


@pytest.mark.parametrize(
    "notes",
    [
        {"image_mean": [0.5], "rescale_factor": None},
        {"mean": [0.5], "std": [0.5], "input_size": ["a", "b"]},
        {"mean": [0.5], "size": {"height": None, "width": 3}},
    ],
)
def test_notes_that_are_no_figures_are_one_sentence(notes):
    with pytest.raises(InputError, match="hold what is no figure"):
        read_settings(notes)


def test_what_the_user_gives_wins_over_notes(tmp_path):
    model = net(TIMM)
    helper.set_model_props(model, {"mean": "0.5", "std": "0.25", "channel_order": "bgr"})
    file = read_onnx_file(save(model, tmp_path / "net.onnx"))
    how = settle(file, Settings(mean=(0.1, 0.2, 0.3)))
    assert (how.mean, how.std, how.bgr) == ((0.1, 0.2, 0.3), (0.25,) * 3, True)
    (tmp_path / "config.json").write_text(json.dumps({"mean": [0.4], "std": [0.3]}))
    assert settle(file, Settings(), tmp_path / "config.json").mean == (0.4,) * 3


@pytest.mark.parametrize(("text", "figures"), [("0.5", (0.5,)), ("1, 2,3", (1, 2, 3)), ("[1 2 3]", (1, 2, 3))])
def test_figures(text, figures):
    assert parse_figures(text) == figures


@pytest.mark.parametrize("text", ["", "nan", "1;2", "inf", "1e12"])
def test_what_is_no_list_of_figures(text):
    with pytest.raises(InputError, match="is no list of numbers"):
        parse_figures(text)


def test_sizes():
    assert parse_size("224") == (224, 224) and parse_size("240x320") == (240, 320)
    with pytest.raises(InputError, match="'2x2x2' is no size"):
        parse_size("2x2x2")
