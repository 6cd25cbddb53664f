"""Timing side by side: who took part, in what order, and that everybody gives the same answer."""

import importlib.util
import json

import cv2
import numpy as np
import pytest
import torch

from sightline.edge_app.cli import run
from sightline.export.bench import Absent, BenchOptions, Contestant, bench, take_turns
from sightline.export.bench_peers import PEERS, Peer, Run
from sightline.export.bench_torch import rebuild
from sightline.export.onnx_graph import serialize
from sightline.runtime import Bundle
from sightline.runtime.errors import InputError
from tests.export.nets import images, small_graph, small_net
from tests.factories import tiny_bundle

QUICK = {"seconds": 0.1, "most_turns": 6}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bench") / "tiny.bundle")


def test_contestants_take_turns_in_rotating_order():
    order: list[str] = []
    contestants = [
        Contestant(name, "fp32", "fp32", lambda image, name=name: order.append(name) or np.zeros(3)) for name in "abc"
    ]
    times = take_turns(contestants, images(2), seconds=60, most_turns=3).times
    assert [one.shape for one in times] == [(3, 3)] * 3 and all((one >= 0).all() for one in times)
    assert [order[place] for place in range(0, len(order), 4)] == list("abcbcacab")


def test_turns_end_with_the_time_but_not_before_the_fifth():
    one = Contestant("a", "fp32", "fp32", lambda image: np.zeros(3))
    assert take_turns([one], images(1), seconds=0, most_turns=1000).times[0].shape == (5, 3)


@pytest.fixture
def faltering(monkeypatch) -> Peer:
    """A peer whose every opened model answers once, then fails."""

    def open_model(*_: object) -> tuple[str, Run]:
        answers = iter([np.zeros((1, 3), np.float32)])

        def run(_: object) -> np.ndarray:
            answer = next(answers, None)
            if answer is None:
                raise RuntimeError("out of scratch memory\nat kernel 7")
            return answer

        return "fp32", run

    peer = Peer("faltering", ("fp32",), open_model)
    monkeypatch.setitem(PEERS, peer.name, peer)
    return peer


def test_a_peer_that_fails_in_a_turn_leaves_with_its_reason(bundle, faltering):
    report = bench(Bundle.load(bundle), BenchOptions((1,), (faltering.name,), **QUICK))
    assert [entry.tool for entry in report.entries] == ["sightline"] and report.entries[0].rounds == 18
    assert report.absent == (Absent("faltering fp32", "failed in turn 1 (out of scratch memory)"),)


def test_a_failure_of_our_own_is_not_passed_over():
    def fail(_: object) -> np.ndarray:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        take_turns([Contestant("sightline", "fp32", "fp32", fail)], images(1), seconds=0, most_turns=1)


def test_every_variant_and_every_number_of_threads_is_measured(bundle):
    report = bench(Bundle.load(bundle), BenchOptions((1, 2), (), **QUICK))
    assert [(entry.tool, entry.file, entry.threads) for entry in report.entries] == [
        ("sightline", "fp32", 1),
        ("sightline", "fp32", 2),
    ]
    entry = report.entries[0]
    assert entry.speed == 1 and entry.cosine == pytest.approx(1) and entry.rounds == 18
    assert 0 < entry.low_ms <= entry.median_ms <= entry.high_ms and not report.absent


@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "mobilenet_v3_small"])
def test_the_graph_rebuilt_in_torch_answers_as_the_model(name, planes):
    x = torch.from_numpy(images(2))
    rebuilt = rebuild(serialize(small_graph(name)), planes)
    with torch.inference_mode():
        came = rebuilt(x.permute(0, 3, 1, 2).float() if planes else x)
        expected = small_net(name)(x)
    for left, right in zip(came, expected, strict=True):
        np.testing.assert_allclose(left.numpy(), right.numpy(), atol=2e-4)


def test_torch_takes_part_and_agrees(tmp_path):
    from sightline.export.bench_peers import process_threads_restored

    data = serialize(small_graph("mobilenet_v2"))
    threads = torch.get_num_threads()
    with process_threads_restored():
        precision, answer = PEERS["torch"].open(data, (32, 32), threads + 1)
        assert torch.get_num_threads() == threads + 1
        came = answer(images(1))
    assert torch.get_num_threads() == threads
    with torch.inference_mode():
        expected = small_net("mobilenet_v2")(torch.from_numpy(images(1)))[0].numpy()
    assert precision == "fp32"
    np.testing.assert_allclose(came, expected, atol=2e-4)


def test_a_peer_that_is_missing_or_cannot_is_named_and_the_rest_goes_on(bundle):
    report = bench(Bundle.load(bundle), BenchOptions((1,), ("ncnn", "torch"), **QUICK))
    absent = {one.tool: one.reason for one in report.absent}
    if importlib.util.find_spec("ncnn") is None:
        assert "not installed (ncnn): pip install 'sightline[peers]'" in absent["ncnn"]
    took_part = {entry.tool for entry in report.entries}
    assert "sightline" in took_part and {"torch"} & (took_part | set(absent))


def test_an_unknown_peer_is_refused(bundle):
    with pytest.raises(InputError, match=r"unknown peer 'tvm': choose from openvino, .*, or none"):
        bench(Bundle.load(bundle), BenchOptions((1,), ("tvm",)))
    with pytest.raises(InputError, match="threads must lie in 1 to 256, not 0"):
        bench(Bundle.load(bundle), BenchOptions((0,), ()))


# --- the command line ------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_and_draws(bundle, tmp_path, capsys):
    picture = tmp_path / "bench.png"
    words = [str(bundle), "--peer", "none", "--seconds", "0.2", "--plot", str(picture)]
    assert run(["bench", *words]) == 0
    said = capsys.readouterr().out
    assert "sightline" in said and "fp32 by Sightline is 1" in said
    drawn = cv2.imread(str(picture))
    assert drawn is not None and drawn.shape[1] > 600 and drawn.std() > 5


def test_the_command_prints_json(bundle, capsys):
    assert run(["bench", str(bundle), "--peer", "none", "--threads", "1", "--seconds", "0.1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["bundle_id"] == Bundle.load(bundle).bundle_id
    assert printed["entries"][0]["threads"] == 1 and printed["entries"][0]["median_ms"] > 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--plot", "missing/bench.png"], "cannot be written: folder"),
        (["--plot", "bench.txt"], "has no ending of a picture"),
        (["--peer", "tvm"], "unknown peer 'tvm'"),
    ],
)
def test_bad_words_are_one_sentence(bundle, capsys, words, sentence):
    assert run(["bench", str(bundle), "--seconds", "0.1", *words]) == 1
    assert sentence in capsys.readouterr().err
