"""OpenVINO's sessions: one for a single caller, others for several at once and for batches, compiled when needed."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from sightline.runtime import providers

ONE, TWO = (np.zeros((rows, 2, 2, 3), np.uint8) for rows in (1, 2))


@pytest.fixture
def compiled(monkeypatch):
    """What was compiled, as (for one picture, streams); a run says which of them answered; `gate` holds the first."""
    made: list[tuple[bool, int]] = []
    gate = SimpleNamespace(entered=threading.Event(), open=threading.Event())

    def compile_one(self, one=True, streams=1):
        made.append((one, streams))
        number = len(made)

        def run(names, feed):
            if number == 1 and not gate.open.is_set():
                gate.entered.set()
                assert gate.open.wait(10)
            return [number]

        return SimpleNamespace(run=run, get_inputs=None, get_outputs=None, get_providers=None)

    monkeypatch.setattr(providers._OpenVino, "_compile", compile_one)
    monkeypatch.setattr(providers, "_has_plugin", lambda: True)
    monkeypatch.setattr(providers, "usable_cores", lambda most: 4)
    return SimpleNamespace(made=made, gate=gate)


def test_a_second_caller_at_once_gets_a_session_of_its_own_kind(compiled):
    engine = providers._OpenVino(b"", threads=1)
    first = threading.Thread(target=engine.run, args=([], {"image": ONE}))
    first.start()
    assert compiled.gate.entered.wait(10)
    assert engine.run([], {"image": ONE}) == [2] and engine.run([], {"image": ONE}) == [2]
    compiled.gate.open.set()
    first.join()
    assert engine.run([], {"image": ONE}) == [1] and engine.run([], {"image": TWO}) == [3]
    assert compiled.made == [(True, 1), (True, 4), (False, 4)]


def test_where_one_caller_has_all_cores_nothing_more_is_compiled(compiled):
    compiled.gate.open.set()
    engine = providers._OpenVino(b"", threads=4)
    with engine._alone:
        assert engine.run([], {"image": ONE}) == [1]
    assert compiled.made == [(True, 1)]
