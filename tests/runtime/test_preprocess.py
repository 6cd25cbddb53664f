import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from sightline.runtime import InputError, InputSpec, decode_image, prepare, read_image
from sightline.runtime.preprocess import resize_exact

HOSTILE = Path(__file__).parents[3] / "shared" / "data" / "hostile"


def encoded(suffix: str, image: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(suffix, image, options)[1].tobytes()


def gradient(width: int, height: int) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([columns * 255 // width, rows * 255 // height, np.full_like(rows, 90)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("size_wh", [(640, 480), (1920, 1080), (224, 224), (225, 223), (100, 40), (1, 1), (31, 997)])
def test_prepare_gives_the_spec_whatever_the_frame(size_wh: tuple[int, int]) -> None:
    image = prepare(gradient(*size_wh), InputSpec(96, 128, 0.9))
    assert image.shape == (96, 128, 3) and image.dtype == np.uint8


def test_prepare_gives_rgb() -> None:
    frame_bgr = np.zeros((50, 50, 3), np.uint8)
    frame_bgr[..., 0] = 255
    assert prepare(frame_bgr, InputSpec(32, 32))[0, 0].tolist() == [0, 0, 255]


def test_prepare_keeps_the_centre_and_its_proportions() -> None:
    frame = np.zeros((100, 300, 3), np.uint8)
    frame[10:90, 110:190] = 255  # exactly what crop 0.8 of a square input keeps
    assert prepare(frame, InputSpec(40, 40, 0.8)).min() == 255


def test_resize_by_two_is_the_integer_mean() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    blocks = image.reshape(32, 2, 32, 2, 3).astype(int).sum(axis=(1, 3))
    assert np.array_equal(resize_exact(image, 32, 32), (blocks + 2) // 4)


def test_resize_does_not_alias() -> None:
    stripes = np.zeros((896, 896, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(resize_exact(stripes, 150, 150).astype(int)) <= 2


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
        None,
    ],
)
def test_prepare_refuses_what_is_no_frame(frame: object) -> None:
    with pytest.raises(InputError, match="a frame"):
        prepare(frame, InputSpec())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("height", "width", "crop"), [(4, 224, 1.0), (224, 9000, 1.0), (224, 224, 0.0), (224, 224, 1.5)]
)
def test_spec_refuses_nonsense(height: int, width: int, crop: float) -> None:
    with pytest.raises(InputError):
        InputSpec(height, width, crop)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
def test_decoding_grey_and_colour(suffix: str) -> None:
    grey = decode_image(encoded(suffix, gradient(40, 30)[..., 0]))
    colour = decode_image(encoded(suffix, gradient(40, 30)))
    assert grey.shape == colour.shape == (30, 40, 3)
    assert np.abs(colour.astype(int) - gradient(40, 30)).max() < 40


def test_sixteen_bits_become_eight() -> None:
    deep = gradient(40, 30).astype(np.uint16) * 257
    assert np.abs(decode_image(encoded(".png", deep)).astype(int) - gradient(40, 30)).max() <= 1


def test_transparent_is_shown_on_white() -> None:
    image = np.zeros((20, 20, 4), np.uint8)
    image[:10, :, 3] = 255
    decoded = decode_image(encoded(".png", image))
    assert decoded[:10].max() == 0 and decoded[10:].min() == 255


def test_exif_orientation_is_applied() -> None:
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    plain = encoded(".jpg", gradient(40, 20))
    turned = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:]
    assert decode_image(turned).shape == (40, 20, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_a_truncated_file_is_refused(suffix: str, share: float) -> None:
    data = encoded(suffix, np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    with pytest.raises(InputError, match=r"photo\.x.*cannot be decoded"):
        decode_image(data[: int(len(data) * share)], "photo.x")


def test_a_header_that_promises_gigabytes_is_refused() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(InputError, match="pixels"):
        decode_image(data)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_image(path)


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="the shared data is not here")
def test_hostile_files_decode_or_are_refused_in_a_sentence() -> None:
    refused = set()
    for file in sorted(HOSTILE.iterdir()):
        try:
            assert read_image(file).ndim == 3
        except InputError as error:
            assert str(file) in str(error)
            refused.add(file.name)
    assert refused == {"index.csv", "truncated_jpeg.jpg"}


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="the shared data is not here")
def test_the_same_photo_turned_by_exif_looks_the_same() -> None:
    upright, turned = (read_image(HOSTILE / f"Landscape_{number}.jpg") for number in (1, 6))
    assert upright.shape == turned.shape
    assert np.abs(upright.astype(int) - turned).mean() < 12
