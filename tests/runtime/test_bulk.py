"""Work on many items: order, bounded look-ahead, an error at its place, an end that leaves no thread."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from sightline.runtime import Bundle, Recognizer
from sightline.runtime.bulk import in_order, open_for_many


def test_results_come_in_the_order_of_the_items_however_long_each_takes() -> None:
    late = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert late.wait(10)  # only once another has been done
        late.set()
        return item * item

    assert list(in_order(work, range(200), workers=2)) == [item * item for item in range(200)]
    assert list(in_order(work, [], workers=2)) == []


def test_what_is_read_ahead_is_bounded() -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for item in range(10_000):
            read.append(item)
            yield item

    with closing(in_order(lambda item: item, items(), workers=2)) as results:
        assert next(results) == 0
        assert len(read) < 100


def test_an_error_comes_at_its_place_and_no_thread_stays() -> None:
    def work(item: int) -> int:
        if item == 5:
            raise ValueError("the fifth")
        return item

    before = threading.active_count()
    results = in_order(work, range(1000), workers=3)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="the fifth"):
        next(results)
    assert threading.active_count() == before


def test_one_thread_for_many_workers_answers_the_same(tmp_path: Path) -> None:
    from tests.factories import tiny_bundle

    bundle = Bundle.load(tiny_bundle(tmp_path / "bundle"))
    recognizer, workers = open_for_many(bundle, threads=3)
    assert (recognizer.threads, workers) == (1, 3)
    assert open_for_many(bundle)[1] >= 1
    frames = [np.full((40, 40, 3), shade, np.uint8) for shade in range(0, 250, 10)]
    answers = in_order(recognizer.recognize, frames, workers)
    alone = Recognizer(bundle)
    for answer, frame in zip(answers, frames, strict=True):
        assert np.array_equal(answer.probabilities, alone.recognize(frame).probabilities)
