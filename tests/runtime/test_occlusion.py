"""An occlusion map against scores whose cause is known."""

import numpy as np
import pytest

from sightline.runtime import Bundle, Recognizer
from sightline.runtime.occlusion import occlude
from sightline.runtime.preprocess import InputSpec, crop_box, prepare
from tests.factories import tiny_bundle


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 90, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 64), (33, 47)])
def test_the_place_that_the_score_reads_is_found(height: int, width: int) -> None:
    image = noise(height, width)
    top, left = height // 2, width // 8
    image[top : top + 8, left : left + 8] = 255
    found = occlude(image, lambda batch: batch[:, top : top + 8, left : left + 8].mean(axis=(1, 2, 3)) / 255)
    row, column = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert abs(row - top - 4) <= height // 8 and abs(column - left - 4) <= width // 8
    assert found.heat.shape == (height, width) and found.heat.min() >= 0 and found.heat.max() == pytest.approx(1)
    assert found.telling[top + 2 : top + 6, left + 2 : left + 6].all() and found.telling.mean() < 0.35
    assert found.score == pytest.approx(1) and found.score_covered < 0.5
    far = found.heat[: height // 8, -width // 8 :]
    assert far.max() < 0.1


def test_a_score_that_reads_nothing_gives_an_empty_map() -> None:
    found = occlude(noise(48, 48), lambda batch: np.full(len(batch), 0.7, np.float32))
    assert not found.heat.any() and not found.telling.any() and found.score_covered == found.score
    assert found.passes < 100


def test_passes_are_counted_and_told() -> None:
    asked, told = [], []
    found = occlude(
        noise(64, 64), lambda batch: asked.append(len(batch)) or batch[:, :9, :9].mean(axis=(1, 2, 3)), told.append
    )
    assert sum(asked) == found.passes and sum(told) == found.passes - 2 and max(asked) <= 16


def test_a_bundle_rests_on_the_place_with_the_colour(tmp_path) -> None:
    recognizer = Recognizer(Bundle.load(tiny_bundle(tmp_path / "kiosk.bundle")))
    frame = np.full((64, 64, 3), 128, np.uint8)
    frame[40:60, 4:24] = (40, 40, 230)
    red = recognizer.labels.index("red")
    found = occlude(prepare(frame, recognizer.bundle.input_spec), lambda batch: recognizer.run(batch)[0][:, red])
    row, column = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert 20 <= row < 30 and 2 <= column < 12


@pytest.mark.parametrize("size", [(100, 200), (200, 100), (31, 30)])
def test_the_crop_box_is_what_prepare_shows(size) -> None:
    spec = InputSpec(16, 16, 0.75)
    frame = np.zeros((*size, 3), np.uint8)
    top, left, bottom, right = crop_box(*size, spec)
    frame[top:bottom, left:right] = 255
    assert prepare(frame, spec).min() == 255
    assert abs((bottom - top) - 0.75 * min(size)) <= 1 and bottom - top == right - left
