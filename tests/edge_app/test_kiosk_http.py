"""The page's server beside a running loop: views, teaching, browsing, removal, and ends of every kind."""

import re
import socket
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sightline.edge_app import cli, live
from sightline.edge_app.demo.scene import photograph
from sightline.edge_app.demo.shop import NOVEL
from sightline.edge_app.kiosk import files, server
from sightline.edge_app.kiosk.access import TOKEN_VARIABLE
from sightline.runtime import Bundle, Gallery, Recognizer
from sightline.runtime.errors import SourceError
from sightline.runtime.manifest import DecisionPolicy
from tests.edge_app.cameras import HttpCamera, http_camera, silence, stream, write_video
from tests.edge_app.kiosks import LIVE, Client, kiosk, state_where, until
from tests.factories import picture, tiny_bundle

ASSETS = Path(files.__file__).parent / "assets"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "kiosk.bundle", policy=DecisionPolicy(min_probability=0.6, min_similarity=0.6))


@pytest.fixture
def shop(bundle: Path, tmp_path: Path) -> Path:
    """A gallery of three items with metadata."""
    recognizer = Recognizer(Bundle.load(bundle))
    path = tmp_path / "shop.gallery"
    with Gallery.open(path, model=recognizer.model_id) as gallery:
        for label in ("red", "green", "blue"):
            for seed in range(2):
                frame = picture(label, seed)
                gallery.add(label, recognizer.embed([frame])[0], crop=frame, metadata={"sku": f"{label}-{seed}"})
    return path


def answered(state: Any) -> bool:
    return state["answer"] is not None


def told(state: Any, kind: str) -> list[Any]:
    return [one for one in state["told"] if one["kind"] == kind]


def test_an_answer_is_explained_off_the_loop(bundle: Path, tmp_path: Path) -> None:
    with kiosk(bundle, LIVE, None) as running:
        client = running.client
        state = state_where(client, lambda state: state["can_explain"])
        assert state["answer"] is not None
        first = client.post("/api/why", {})
        assert first.status == 200, first.body
        told = first.json
        assert told["title"].startswith("What speaks for") and "fifth takes" in told["words"]
        picture = client.get(f"/api/why/{told['number']}")
        frame = cv2.imdecode(np.frombuffer(picture.body, np.uint8), cv2.IMREAD_COLOR)
        assert frame.shape == (240, 320, 3)
        again = client.post("/api/why", {}).json
        assert again["number"] == told["number"] + 1
        assert client.get(f"/api/why/{told['number']}").headers["content-type"].startswith("image/svg")
        assert client.post("/api/why", {"more": 1}).status == 422
        assert client.get("/api/why").status == 405


def test_a_view_is_a_state_and_the_picture_it_speaks_of(bundle: Path, shop: Path) -> None:
    with http_camera(stream) as camera, kiosk(bundle, camera.url(), shop) as running:
        view = until(lambda: got if answered((got := running.client.view(width=64)).state) and got.jpeg else None)
        state = view.state
        assert state["camera"]["state"] == "live" and state["camera"]["age_ms"] >= 0
        assert state["answer"]["label"] == "red" and state["answer"]["known"]
        assert state["matches"][0]["label"] == "red" and state["matches"][0]["metadata"]["sku"].startswith("red-")
        frame = cv2.imdecode(np.frombuffer(view.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert frame.shape == (state["picture"]["height"], state["picture"]["width"], 3) == (48, 64, 3)
        assert frame[..., 2].mean() > 150 > frame[..., 0].mean()
        left, top, right, bottom = state["picture"]["seen"]
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1


def test_only_what_is_new_is_sent(bundle: Path) -> None:
    still = "test://?size=64x48&fps=1"
    with kiosk(bundle, still, None) as running:
        state = state_where(running.client, lambda state: state["picture"] is not None)
        first = running.client.view(boot=state["boot"], after=0, picture=-1)
        again = running.client.view(boot=state["boot"], after=0, picture=first.state["picture"]["number"])
        if again.state["picture"]["number"] == first.state["picture"]["number"]:
            assert first.jpeg and not again.jpeg
        other = running.client.view(boot="another", after=first.state["version"], picture=10**9)
        assert other.jpeg, "a browser that knew another process gets everything"


def test_a_large_frame_is_sent_at_the_width_that_is_shown(bundle: Path) -> None:
    with kiosk(bundle, "test://?size=1600x900&fps=10", None) as running:
        state_where(running.client, lambda state: state["picture"] is not None)
        for asked, got in ((300, 480), (500, 800), (9000, 1280)):
            jpeg = running.client.view(width=asked).jpeg
            assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape[1] == got


def test_taught_from_the_page_then_undone(bundle: Path, tmp_path: Path) -> None:
    with kiosk(bundle, LIVE, tmp_path / "g") as running:
        client = running.client
        state = state_where(client, answered)
        assert state["can_teach"] and not state["can_undo"] and state["matches"] == []
        assert client.post("/api/teach", {"label": "  test   bars "}).status == 202
        lesson = state_where(client, lambda state: state["teaching"] and state["teaching"]["views"])["teaching"]
        assert lesson["label"] == "test bars"
        assert client.get(f"/api/views/{lesson['views'][0]}").headers["content-type"] in ("image/jpeg", "image/svg+xml")
        state = state_where(client, lambda state: told(state, "taught"))
        ids = told(state, "taught")[0]["ids"]
        with Gallery.open(tmp_path / "g") as disk:
            assert disk.ids_of("test bars") == ids, "told only when it is on the disk"
        assert client.get(f"/api/crops/{ids[0]}").headers["content-type"] == "image/jpeg"
        state = state_where(client, lambda state: answered(state) and state["answer"]["label"] == "test bars")
        assert state["can_undo"] and state["teaching"] is None
        assert client.get(f"/api/views/{lesson['views'][0]}").headers["content-type"] == "image/svg+xml", "let go of"
        assert client.post("/api/undo", {}).status == 202
        state = state_where(client, lambda state: told(state, "removed"))
        assert not state["can_undo"]
        state_where(client, lambda state: answered(state) and state["answer"]["label"] != "test bars")
    with Gallery.open(tmp_path / "g") as disk:
        assert len(disk) == 0


def test_cancelling_learns_nothing_and_keeps_what_was_learnt(bundle: Path, shop: Path) -> None:
    with kiosk(bundle, LIVE, shop) as running:
        client = running.client
        client.post("/api/teach", {"label": "kept"})
        state_where(client, lambda state: told(state, "taught"))
        client.post("/api/cancel", {})
        client.post("/api/teach", {"label": "dropped"})
        client.post("/api/cancel", {})
        state_where(client, lambda state: told(state, "error"))
    with Gallery.open(shop) as disk:
        assert disk.ids_of("kept") and not disk.ids_of("dropped")


def test_items_and_entries_are_browsed_and_removed(bundle: Path, shop: Path) -> None:
    with http_camera(stream) as camera, kiosk(bundle, camera.url(), shop) as running:
        client = running.client
        items = client.get("/api/items").json
        assert [item["label"] for item in items["items"]] == ["blue", "green", "red"] and items["entries"] == 6
        assert [item["label"] for item in client.get("/api/items?query=RE").json["items"]] == ["green", "red"]
        reds = client.get("/api/entries?label=red").json
        assert [entry["metadata"]["sku"] for entry in reds["entries"]] == ["red-1", "red-0"] and reds["total"] == 2
        doomed = reds["entries"][0]["id"]
        assert client.post("/api/remove", {"ids": [doomed]}).json == {"label": "red", "ids": [doomed]}
        with Gallery.open(shop) as disk:
            assert doomed not in disk
        state_where(client, lambda state: told(state, "removed"))
        assert client.post("/api/remove", {"label": "red"}).status == 200
        left = {"green", "blue"}
        state_where(client, lambda state: answered(state) and {match["label"] for match in state["matches"]} == left)
        gone = client.post("/api/remove", {"ids": [doomed]})
        assert gone.status == 409 and "already" in gone.json["error"]
        assert client.get(f"/api/crops/{doomed}").headers["content-type"] == "image/svg+xml"


def test_what_was_removed_by_hand_is_not_undone_twice(bundle: Path, tmp_path: Path) -> None:
    with kiosk(bundle, LIVE, tmp_path / "g") as running:
        client = running.client
        client.post("/api/teach", {"label": "bars"})
        state_where(client, lambda state: state["can_undo"])
        client.post("/api/remove", {"label": "bars"})
        state_where(client, lambda state: not state["can_undo"])


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/teach", b'{"label": ""}', 422),
        ("/api/teach", b'{"label": "%s"}' % (b"x" * 81), 422),
        ("/api/teach", b'{"label": "tab\\u0007bell"}', 422),
        ("/api/teach", b'{"name": "x"}', 422),
        ("/api/teach", b"[]", 422),
        ("/api/teach", b"\xff", 422),
        ("/api/teach", b"{", 422),
        ("/api/remove", b'{"ids": "all"}', 422),
        ("/api/remove", b"{}", 409),
        ("/api/undo", b'{"x": 1}', 422),
        ("/api/teach", b" " * 70_000, 413),
    ],
)
def test_bad_requests_are_sentences(bundle: Path, shop: Path, path: str, body: bytes, status: int) -> None:
    with kiosk(bundle, LIVE, shop) as running:
        reply = running.client.ask("POST", path, body, Content_Type="application/json")
        assert reply.status == status and reply.json["error"]
    assert not any("failed" in line for line in running.notes.said)


def test_there_is_nothing_beside_the_page(bundle: Path) -> None:
    with kiosk(bundle, LIVE, None) as running:
        client = running.client
        for path in ("/nothing", "/assets/nothing.js", "/assets/../app.py", "/assets/%2e%2e/app.py", "/api/crops/x"):
            assert client.get(path).status == 404, path
        for path in (f"/api/crops/{10**30}", "/api/views/" + 5000 * "9"):
            assert client.get(path).status == 404
        assert client.get("/api/items").status == 409
        assert client.post("/api/teach", {"label": "mug"}).status == 409
        assert client.ask("PUT", "/api/undo", b"{}", Content_Type="application/json").status == 405
        tag = client.get("/").headers["etag"]
        assert client.get("/", If_None_Match=tag).status == 304
        assert not client.view().state["can_teach"]


def test_connections_that_ask_nothing_shut_nobody_out(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_IDLE_S", 1)
    with kiosk(bundle, LIVE, None) as running:
        idle = [socket.create_connection(("127.0.0.1", running.client.port)) for _ in range(server.MAX_CONNECTIONS)]
        until(lambda: running.client.get("/api/health").status == 200)
        for one in idle:
            one.settimeout(30)
            assert one.recv(1) == b""
            one.close()


def test_the_page_asks_nobody_else() -> None:
    for file in ASSETS.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z0-9-]+\.[a-z]", text), f"{file.name} names another site"
    page = (ASSETS / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*src=)|<style| style=| on[a-z]+=", page), "inline script or style"
    for script in ASSETS.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|\beval\b|new Function|document\.write", script.read_text()
        )


def test_a_camera_that_goes_takes_the_answer_with_it(bundle: Path, shop: Path) -> None:
    camera = HttpCamera(stream)
    camera.start()
    with kiosk(bundle, camera.url("me:secret@"), shop) as running:
        state_where(running.client, answered)
        camera.stop()
        state = state_where(running.client, lambda state: state["camera"]["state"] == "lost")
        assert state["answer"] is None and state["matches"] == [] and state["camera"]["remedy"]
        ages = [running.client.view().state["camera"]["age_ms"] for _ in range(2)]
        assert ages[1] > ages[0], "the age of the last picture grows"
        assert "secret" not in running.client.get("/api/health").body.decode() + str(state)
        camera.start()
        state_where(running.client, answered)
        camera.stop()


def test_a_camera_that_comes_late_is_waited_for(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "CONNECT_S", 0.5)
    camera = HttpCamera(stream)
    camera.start()
    address = camera.url()
    camera.stop()
    with kiosk(bundle, address, None) as running:
        state = state_where(running.client, lambda state: state["camera"]["headline"] == "No camera yet")
        assert state["camera"]["state"] == "connecting" and state["answer"] is None and state["picture"] is None
        assert "refused" in state["camera"]["detail"] and state["camera"]["remedy"]
        time.sleep(1)
        assert running.thread.is_alive()
        camera.start()
        assert state_where(running.client, answered)["camera"]["headline"] == "Live"
        camera.stop()


def test_with_a_limit_the_run_ends_where_no_camera_comes(bundle: Path) -> None:
    with (
        pytest.raises(SourceError, match="waited 3 s"),
        kiosk(bundle, "http://127.0.0.1:9/x", None, connect_s=3.0) as running,
    ):
        running.thread.join(30)


def test_a_browser_that_reads_nothing_costs_the_loop_nothing(bundle: Path) -> None:
    with kiosk(bundle, "test://?size=1280x720&fps=30", None) as running:
        state_where(running.client, answered)
        lazy = [socket.create_connection(("127.0.0.1", running.client.port)) for _ in range(8)]
        for one in lazy:
            for _ in range(40):
                one.sendall(b"GET /api/view?width=1280 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        before = running.client.view().state["picture"]["number"]
        until(lambda: running.client.view().state["picture"]["number"] > before + 10)
        for one in lazy:
            one.close()


def test_an_end_does_not_wait_for_browsers(bundle: Path) -> None:
    with http_camera(silence) as camera, kiosk(bundle, camera.url(), None, connect_s=60.0) as running:
        client = running.client
        state = client.view().state
        waiting = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(4)]
        for one in waiting:
            one.sendall(b"GET /api/view?boot=%s&after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n" % state["boot"].encode())
        running.end()
        for one in waiting:
            one.close()
    with pytest.raises(ConnectionRefusedError):
        Client(client.port).get("/")


def test_the_same_port_serves_the_next_run(bundle: Path) -> None:
    boots = set()
    port = 0
    for _ in range(2):
        with kiosk(bundle, LIVE, None, where=f"127.0.0.1:{port}") as running:
            port = running.client.port
            boots.add(running.client.view().state["boot"])
    assert len(boots) == 2


def test_a_port_that_is_taken_is_one_sentence(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert cli.run(["run", str(bundle), "--source", LIVE, "--kiosk", f"127.0.0.1:{port}"]) == 1
    assert f"sightline: --kiosk: port {port} on 127.0.0.1 is taken" in capsys.readouterr().err
    assert cli.run(["run", str(bundle), "--source", LIVE, "--kiosk", "nonsense:x"]) == 1
    assert "takes HOST:PORT" in capsys.readouterr().err


def test_other_hosts_need_the_token_that_is_said_once(bundle: Path, shop: Path) -> None:
    with kiosk(bundle, LIVE, shop, where="0.0.0.0:0") as running:
        client = running.client
        said = [line for line in running.notes.said if "token" in line]
        assert len(said) == 1
        token = said[0].split("token, shown this once: ")[1].split(" ")[0]
        assert client.get("/").status == 200 and client.view().status == 401
        assert client.post("/api/login", {"token": "wrong"}).status == 403
        cookie = client.post("/api/login", {"token": token}).headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and token not in cookie
        assert client.get("/api/view", Cookie=cookie.partition(";")[0]).status == 200
        assert client.get("/api/view", Authorization=f"Bearer {token}").status == 200
        assert client.get(f"/api/view?token={token}").status == 401, "a token in an address ends up in logs"
        assert client.post("/api/undo", {}, Cookie=cookie.partition(";")[0], Origin="http://evil.example").status == 403


def test_a_token_that_was_given_is_not_said(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "0123456789abcdef-mine")
    with kiosk(bundle, LIVE, None, where="0.0.0.0:0") as running:
        assert running.client.get("/api/view", Authorization="Bearer 0123456789abcdef-mine").status == 200
        assert not any("mine" in line for line in running.notes.said)


def test_without_the_extra_it_says_what_to_install(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("sightline.edge_app.kiosk")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert cli.run(["run", str(bundle), "--source", LIVE, "--kiosk", "0"]) == 1
    assert "pip install 'sightline[kiosk]'" in capsys.readouterr().err


def cactus_clip(path: Path, fps: int) -> Path:
    """Four seconds of a wall, then eight of a drawn cactus that is turned a little."""
    drawn = cv2.resize(photograph(NOVEL, np.random.default_rng(5), 160), (200, 200))
    wall = np.full((150, 160, 3), (120, 118, 116), np.uint8)
    frames = [wall] * (4 * fps)
    for number in range(8 * fps):
        swing = np.sin(number / 9)
        turn = cv2.getRotationMatrix2D((100, 100), 10 * swing, 1.0)
        turned = cv2.warpAffine(drawn, turn, (200, 200), borderMode=cv2.BORDER_REFLECT)
        left = round(20 + 14 * swing)
        frames.append(turned[25:175, left : left + 160])
    return write_video(path, frames, fps=fps, codec="MJPG")


def test_from_the_button_to_the_first_right_answer_takes_at_most_three_seconds(tmp_path: Path) -> None:
    """Counted in frames of the clip, so that a busy machine changes nothing."""
    fps = 10
    bundle = tiny_bundle(tmp_path / "b", policy=DecisionPolicy(min_probability=0.9, min_similarity=0.97))
    clip = cactus_clip(tmp_path / "clip.avi", fps)
    with kiosk(bundle, clip, tmp_path / "g", smooth=5) as running:
        client = running.client
        state = state_where(client, lambda state: state["picture"] and state["picture"]["number"] >= 4 * fps + 2)
        assert not state["answer"]["known"], "the classifier never saw it"
        pressed = state["picture"]["number"]
        client.post("/api/teach", {"label": "cactus"})
        state = state_where(client, lambda state: answered(state) and state["answer"]["label"] == "cactus")
        assert (state["picture"]["number"] - pressed) / fps <= 3.0
        assert state["answer"]["by"] == "gallery"
        running.end()
