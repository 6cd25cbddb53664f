"""Sources: what a URI means, what each gives, and that no message holds a password."""

import base64
import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest

from sightline.edge_app.captures import DamagedFrame, EndOfStream, SourceRefused, _stable_names, as_bgr
from sightline.edge_app.mjpeg import PartSplitter
from sightline.edge_app.sources import Source, parse_source, redact
from sightline.runtime.errors import InputError, SourceError
from tests.edge_app.cameras import http_camera, jpeg, part, stream, write_video
from tests.factories import picture


def frames_of(source: Source) -> list[np.ndarray]:
    capture = source.open()
    frames = []
    try:
        while True:
            frames.append(capture.read())
    except EndOfStream:
        return frames
    finally:
        capture.close()


@pytest.mark.parametrize(
    ("uri", "name", "live"),
    [
        ("0", "camera://0", True),
        ("camera://1?width=1280&height=720", "camera://1?width=1280&height=720", True),
        ("/dev/video7", "/dev/video7", True),
        ("v4l2:///dev/v4l/by-id/cam", "v4l2:///dev/v4l/by-id/cam", True),
        ("rtsp://me:secret@host:554/live?token=abc&x=1", "rtsp://***@host:554/live?token=***&x=1", True),
        ("http://me@host/mjpg", "http://***@host/mjpg", True),
        ("https://host/clip.mp4", "https://host/clip.mp4", False),
        ("test://?frames=3", "test://?frames=3", False),
        ("test://", "test://", True),
    ],
)
def test_uris(uri: str, name: str, live: bool) -> None:
    source = parse_source(uri)
    assert (source.name, source.live) == (name, live)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("", "is empty"),
        ("ftp://host/x", "unknown kind"),
        ("camera://front", "names no camera"),
        ("camera://0?widht=3", "no option 'widht'"),
        ("camera://0?width=big", "whole number"),
        ("test://?size=large", "640x480"),
        ("rtsp://", "names no host"),
        ("http://host:port/x", "is no address"),
        ("http://[broken/x", "is no address"),
    ],
)
def test_bad_uris_are_a_sentence(uri: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_source(uri)


@pytest.mark.parametrize(
    ("uri", "hidden"),
    [
        ("http://user:p@ss@host/x", ["user", "p@ss"]),
        ("rtsp://host/x?user=bob&password=hunter2&channel=1", ["bob", "hunter2"]),
        ("rtsp://bob:hunter2@host", ["bob", "hunter2"]),
    ],
)
def test_redact(uri: str, hidden: list[str]) -> None:
    shown = redact(uri)
    assert not any(secret in shown for secret in hidden) and "host" in shown


@pytest.mark.parametrize("missing", ["clip.mp4", "photos/*.jpg", "empty"])
def test_missing_files_are_said_at_once(tmp_path: Path, missing: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError):
        parse_source(str(tmp_path / missing))


def test_a_text_file_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "note.mp4").write_text("hello")
    with pytest.raises(SourceError, match="no video that OpenCV reads"):
        parse_source(str(tmp_path / "note.mp4")).open()


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mp4v"), (".avi", "MJPG")])
def test_a_video_file_gives_every_frame(tmp_path: Path, suffix: str, codec: str) -> None:
    shades = [np.full((48, 64, 3), 8 * index, np.uint8) for index in range(20)]
    path = write_video(tmp_path / f"clip{suffix}", shades, 12.5, codec)
    for uri in (str(path), path.as_uri()):
        frames = frames_of(parse_source(uri))
        assert [round(frame.mean() / 8) for frame in frames] == list(range(20))
    capture = parse_source(str(path)).open()
    assert capture.fps == pytest.approx(12.5)
    capture.close()


def test_pictures_by_file_folder_and_pattern(tmp_path: Path) -> None:
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((10 + index, 20, 3), 50 * index, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    assert [frame.shape[0] for frame in frames_of(parse_source(str(tmp_path)))] == [10, 11, 12]
    assert [frame.shape[0] for frame in frames_of(parse_source(str(tmp_path / "[12].png")))] == [11, 12]
    assert len(frames_of(parse_source(str(tmp_path / "1.png")))) == 1


def test_a_damaged_picture_is_no_end(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture("red", 0))
    (tmp_path / "b.png").write_bytes(b"\x89PNG broken")
    cv2.imwrite(str(tmp_path / "c.png"), picture("red", 1))
    capture = parse_source(str(tmp_path)).open()
    capture.read()
    with pytest.raises(DamagedFrame, match=r"b\.png"):
        capture.read()
    assert capture.read().shape == (48, 64, 3)


def test_a_missing_camera_says_what_is_there() -> None:
    with pytest.raises(SourceError, match=r"'camera://87' cannot be opened: /dev/video87 does not exist"):
        parse_source("87").open()


def test_a_camera_keeps_its_name_when_its_number_changes(tmp_path: Path) -> None:
    node = tmp_path / "video3"
    node.touch()
    (tmp_path / "by-id").mkdir()
    link = tmp_path / "by-id" / "usb-cam-index0"
    link.symlink_to(node)
    assert _stable_names(str(node), tmp_path / "by-id") == [link]


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 4)])
def test_grey_and_four_channel_frames_become_bgr(shape: tuple[int, ...]) -> None:
    assert as_bgr(np.zeros(shape, np.uint8)).shape == (4, 6, 3)


@pytest.mark.parametrize("frame", [None, np.zeros((4, 6, 2), np.uint8), np.zeros((4, 6, 3), np.float32)])
def test_what_is_no_picture_is_refused(frame: object) -> None:
    with pytest.raises(DamagedFrame):
        as_bgr(frame)


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("step", [1, 7, 1000, 100_000])
def test_parts_are_cut_whatever_the_chunks(length: bool, step: int) -> None:
    pictures = [jpeg("red", seed) for seed in range(4)]
    data = b"HTTP noise" + b"".join(part(one, length) for one in pictures) + b"--frame\r\n"
    splitter = PartSplitter("frame")
    parts = [one for at in range(0, len(data), step) for one in splitter.feed(data[at : at + step])]
    assert [one.removesuffix(b"\r\n") for one in parts] == pictures


@pytest.mark.parametrize("boundary", ["frame", "--frame", '"frame"'])
def test_boundaries_in_every_spelling(boundary: str) -> None:
    assert len(PartSplitter(boundary).feed(part(jpeg()) + part(jpeg()))) == 2


def test_a_part_that_promises_too_much_is_dropped() -> None:
    broken = part(jpeg()).replace(b"Content-Length: ", b"Content-Length: 9")
    found = PartSplitter("frame").feed(broken + part(jpeg("blue")) + part(jpeg("red")))
    assert jpeg("red") in found


def test_a_stream_without_end_is_bounded() -> None:
    splitter = PartSplitter("frame")
    with pytest.raises(SourceError, match="without the end of a picture"):
        for _ in range(40):
            splitter.feed(b"--frame\r\n\r\n" + b"x" * 1_000_000 if not splitter._buffer else b"x" * 1_000_000)


def test_mjpeg_over_http() -> None:
    with http_camera() as camera:
        capture = parse_source(camera.url()).open()
        assert [capture.read().shape for _ in range(3)] == [(48, 64, 3)] * 3
        capture.close()


def test_the_newest_of_the_pictures_that_wait_is_taken() -> None:
    def burst(gone: Event) -> Iterator[bytes]:
        yield b"".join(part(jpeg("red", seed)) for seed in range(20)) + part(jpeg("blue", 99))
        gone.wait(60)

    with http_camera(burst) as camera:
        capture = parse_source(camera.url()).open()
        time.sleep(0.3)
        blue, _, red = capture.read().mean(axis=(0, 1))
        assert blue > red
        capture.close()


def test_garbage_between_pictures_is_passed_over() -> None:
    def answer(gone: Event) -> Iterator[bytes]:
        yield b"\x00garbage\r\n" * 100
        yield part(b"\xff\xd8 not a jpeg")
        yield part(jpeg()[:200])
        gone.wait(0.2)
        yield part(jpeg())
        yield part(jpeg())
        gone.wait(60)

    with http_camera(answer) as camera:
        capture = parse_source(camera.url()).open()
        # The two damaged pictures are reported one by one, or as one where both had come before the first read.
        damaged, frame = 0, None
        while frame is None:
            try:
                frame = capture.read()
            except DamagedFrame:
                damaged += 1
        assert damaged in (1, 2) and frame.shape == (48, 64, 3)
        capture.close()


def test_a_closed_connection_is_a_loss() -> None:
    with http_camera(lambda gone: iter([part(jpeg()), part(jpeg())])) as camera:
        capture = parse_source(camera.url()).open()
        # Of pictures that wait the newest is taken: one read or two, then nothing more can come.
        with pytest.raises(SourceError, match="closed the connection"):
            for _ in range(3):
                capture.read()
        capture.close()


def test_a_single_picture_is_fetched_again_and_again() -> None:
    with http_camera(lambda gone: iter([jpeg()]), content_type="image/jpeg") as camera:
        capture = parse_source(camera.url()).open()
        assert [capture.read().shape for _ in range(2)] == [(48, 64, 3)] * 2
        assert len(camera.requests) == 3


@pytest.mark.parametrize(("status", "said"), [(404, "404"), (500, "500")])
def test_an_error_answer_is_a_refusal(status: int, said: str) -> None:
    with http_camera() as camera:
        camera.status = status
        with pytest.raises(SourceRefused, match=said):
            parse_source(camera.url()).open()


def test_a_web_page_is_no_camera() -> None:
    page = http_camera(lambda gone: iter([b"<html>"]), content_type="text/html")
    with page as camera, pytest.raises(SourceRefused, match="text/html"):
        parse_source(camera.url()).open()


def test_credentials_are_used_and_never_shown() -> None:
    with http_camera(stream) as camera:
        camera.wants = "Basic " + base64.b64encode(b"me:top secret").decode()
        source = parse_source(camera.url("me:top%20secret@"))
        source.open().close()
        wrong = parse_source(camera.url("me:wrongpass@"))
        with pytest.raises(SourceRefused) as caught:
            wrong.open()
    assert "401" in str(caught.value)
    for text in (source.name, repr(source), wrong.name, str(caught.value), repr(caught.value.__cause__)):
        assert "secret" not in text and "wrongpass" not in text


def test_credentials_do_not_follow_a_redirect_to_another_host() -> None:
    with http_camera() as camera, http_camera() as thief:
        camera.status, camera.headers = 302, {"Location": thief.url()}
        thief.wants = "Basic never"
        with pytest.raises(SourceRefused):
            parse_source(camera.url("me:secret@")).open()
    assert all("Authorization" not in request for request in thief.requests)


def test_nobody_there_is_a_sentence() -> None:
    with pytest.raises(SourceError, match="connection refused"):
        parse_source("http://me:secret@127.0.0.1:9/x").open()


def test_the_pattern_moves_and_ends() -> None:
    frames = frames_of(parse_source("test://?size=64x48&fps=0&frames=3"))
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
    assert not np.array_equal(frames[0], frames[1])


def test_a_camera_that_wants_digest_gets_it() -> None:
    def field(text: str, name: str) -> str:
        found = re.search(rf'{name}="?([^",]+)', text)
        assert found is not None
        return found[1]

    def proven(sent: str, secret: str) -> bool:
        def digest(text: str) -> str:
            return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

        user, path = digest(f"me:cam:{secret}"), digest("GET:/video")
        middle = f"{field(sent, 'nonce')}:{field(sent, 'nc')}:{field(sent, 'cnonce')}:auth"
        return field(sent, "response") == digest(f"{user}:{middle}:{path}")

    with http_camera() as camera:
        camera.digest = 'Digest realm="cam", nonce="abc123", qop="auth"'
        capture = parse_source(camera.url("me:top%20secret@")).open()
        assert capture.read().shape == (48, 64, 3)
        capture.close()
    sent = camera.requests[-1]["Authorization"]
    assert sent.startswith("Digest") and proven(sent, "top secret") and not proven(sent, "other")


def test_every_address_in_the_documentation_is_understood() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    uris = [uri for row in rows[:9] for uri in re.findall(r"`([^`]+)`", row) if "://" in uri or uri == "0"]
    assert len(uris) >= 11
    for uri in uris:
        try:
            parse_source(uri.replace("…", "x"))
        except SourceError as error:
            # What this machine lacks is told; what is no address would be an InputError.
            assert "not there" in str(error) or "not to be had" in str(error)
