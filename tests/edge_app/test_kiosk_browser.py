"""The kiosk page in a real Chromium: seen, tapped, typed at, listened to, and left alone by everybody else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sightline.runtime import Bundle, Gallery, Recognizer
from sightline.runtime.manifest import DecisionPolicy
from tests.edge_app.browsers import Visit, chromium
from tests.edge_app.cameras import HttpCamera, http_camera, stream
from tests.edge_app.kiosks import LIVE, Running, kiosk, state_where
from tests.factories import picture, tiny_bundle

SIZES = [(800, 480), (1280, 720), (1920, 1080), (480, 800)]
ANSWERED = "#answer:not([data-kind=none])"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    policy = DecisionPolicy(min_probability=0.6, min_similarity=0.6)
    return tiny_bundle(tmp_path_factory.mktemp("model") / "kiosk.bundle", policy=policy)


@pytest.fixture
def shop(bundle: Path, tmp_path: Path) -> Path:
    recognizer = Recognizer(Bundle.load(bundle))
    with Gallery.open(tmp_path / "shop.gallery", model=recognizer.model_id) as gallery:
        for label in ("red", "green", "blue"):
            for seed in range(3):
                frame = picture(label, seed)
                gallery.add(label, recognizer.embed([frame])[0], crop=frame, metadata={"sku": f"{label}-{seed}"})
    return tmp_path / "shop.gallery"


@contextmanager
def visit(browser: Any, running: Running, size_wh: tuple[int, int] = (800, 480), **more: Any) -> Iterator[Visit]:
    """Open the page; at the end it must have complained of nothing and asked nobody else."""
    one = Visit(browser, running.url, size_wh, **more)
    try:
        yield one
        assert one.complaints == []
        assert {urlsplit(url).netloc for url in one.requests if not url.startswith("blob:")} == {
            urlsplit(running.url).netloc
        }
    finally:
        one.close()


def test_it_shows_picture_answer_and_matches_at_every_size(browser: Any, bundle: Path, shop: Path) -> None:
    with http_camera(stream) as camera, kiosk(bundle, camera.url(), shop) as running, visit(browser, running) as one:
        page = one.page
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_function(
                "() => document.getElementById('label').textContent === 'red'"
                "&& [...document.querySelectorAll('.card img')].filter((one) => one.naturalWidth > 0).length === 5"
            )
            overflow = "[document.documentElement.scrollWidth - innerWidth, document.body.scrollHeight - innerHeight]"
            assert max(page.evaluate(overflow)) <= 0, f"nothing is to be scrolled at {width}x{height}"
            # 12 mm of letter is what two metres ask for: 0.72 of 58 px on a 7-inch screen of 800x480 pixels.
            size = float(page.evaluate("parseFloat(getComputedStyle(document.getElementById('label')).fontSize)"))
            assert size >= 58 * min(width, height) / 480 * 0.95
            small = page.evaluate(
                "[...document.querySelectorAll('main button, header button')].filter((one) => one.offsetParent)"
                ".map((one) => one.getBoundingClientRect()).filter((box) => box.width < 48 || box.height < 48).length"
            )
            assert small == 0, "every button can be hit by a finger"
        page.wait_for_function(
            "() => document.getElementById('picture').getContext('2d').getImageData(20, 20, 1, 1).data[0] > 90"
        )


def test_light_and_dark_can_be_read(browser: Any, bundle: Path, shop: Path) -> None:
    with http_camera(stream) as camera, kiosk(bundle, camera.url(), shop) as running:
        for scheme in ("light", "dark"):
            with visit(browser, running, color_scheme=scheme) as one:
                one.page.wait_for_selector(ANSWERED)
                for selector in (
                    "#label",
                    "#how",
                    "#camera-word",
                    "#camera-age",
                    "#teach",
                    ".card .name",
                    ".card .share",
                ):
                    assert one.page.evaluate(CONTRAST, selector) >= 7, (scheme, selector)
        with visit(browser, running, color_scheme="light") as one:
            ground = "getComputedStyle(document.body).backgroundColor"
            before = one.page.evaluate(ground)
            one.page.click("#open-status")
            one.page.check("input[value=dark]")
            one.page.wait_for_function(f"before => {ground} !== before", arg=before)
            assert "test" not in one.text("#status-facts") and camera.url().split("//")[1] in one.text("#status-facts")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_says_why(browser: Any, bundle: Path, shop: Path, scheme: str) -> None:
    with http_camera(stream) as camera, kiosk(bundle, camera.url(), shop) as running:
        for size_wh in ((800, 480), (1920, 1080)):
            with visit(browser, running, size_wh, color_scheme=scheme) as one:
                one.page.wait_for_selector(ANSWERED)
                one.page.keyboard.press("w")
                one.page.wait_for_selector("#why-picture[src^=blob]")
                one.page.wait_for_function("() => document.getElementById('why-picture').naturalWidth > 0")
                assert "red" in one.text("#why-title") and "fifth takes" in one.text("#why-words")
                assert "fifth takes" in (one.page.get_attribute("#why-picture", "alt") or "")
                assert one.page.evaluate(CONTRAST, "#why-words") >= 7
                fits = "document.getElementById('why-panel').getBoundingClientRect().bottom <= innerHeight"
                assert one.page.evaluate(fits), "the dialog stands whole on the screen"
                one.page.click("#why-again")
                one.page.wait_for_function("() => !document.getElementById('why-again').disabled")
                one.page.keyboard.press("Escape")
                one.page.wait_for_selector("#why:focus, #answer", state="attached")


def test_an_item_is_taught_with_the_keyboard_alone(browser: Any, bundle: Path, tmp_path: Path) -> None:
    with kiosk(bundle, LIVE, tmp_path / "g") as running, visit(browser, running) as one:
        page = one.page
        page.wait_for_selector(ANSWERED)
        page.keyboard.press("t")
        page.wait_for_selector("#name:focus")
        page.keyboard.type("test bars")
        page.keyboard.press("Enter")
        page.wait_for_selector("#look-views .filled img[src^=blob]", state="attached")
        one.wait_text("#done-title", "Learnt “test bars”")
        with Gallery.open(tmp_path / "g") as disk:
            assert disk.ids_of("test bars")
        page.keyboard.press("Escape")
        one.wait_text("#label", "test bars")
        page.wait_for_function("() => document.activeElement.id === 'teach'")
        page.keyboard.press("u")
        one.wait_text("#toast-text", "Removed 'test bars'")
        page.wait_for_function("() => document.getElementById('label').textContent !== 'test bars'")
    with Gallery.open(tmp_path / "g") as disk:
        assert len(disk) == 0


def test_an_item_is_taught_with_two_taps(browser: Any, bundle: Path, shop: Path) -> None:
    with kiosk(bundle, LIVE, shop) as running, visit(browser, running, has_touch=True) as one:
        one.page.wait_for_selector(ANSWERED)
        one.page.tap("#teach")
        one.page.tap("#names button:has-text('Item 1')")
        one.wait_text("#done-title", "Learnt “Item 1”")
        one.wait_text("#label", "Item 1")
        one.page.wait_for_selector("#teach-panel:not([open])", state="attached")
    with Gallery.open(shop) as disk:
        assert disk.ids_of("Item 1")


def test_closing_while_it_looks_learns_nothing(browser: Any, bundle: Path, shop: Path) -> None:
    with kiosk(bundle, LIVE, shop) as running, visit(browser, running) as one:
        one.page.wait_for_selector(ANSWERED)
        one.page.click("#teach")
        one.page.fill("#name", "half")
        one.page.keyboard.press("Enter")
        one.page.click("#look-cancel")
        one.wait_text("#toast-text", "Nothing was learnt")
    with Gallery.open(shop) as disk:
        assert not disk.ids_of("half")


def test_items_are_found_looked_at_and_removed(browser: Any, bundle: Path, shop: Path) -> None:
    with kiosk(bundle, LIVE, shop) as running, visit(browser, running, (1280, 720)) as one:
        page = one.page
        page.wait_for_selector(ANSWERED)
        page.click("#open-items")
        one.wait_text("#items-count", "3 items, 9 entries")
        page.fill("#items-query", "gre")
        one.wait_text("#items-count", "1 of 3 items")
        page.click("#items-list .tile")
        one.wait_text("#items-count", "3 entries")
        page.click("#items-list .tile >> nth=0")
        one.wait_text("#entry-facts", "green-2")
        page.click("#entry-remove")
        page.wait_for_function("() => document.activeElement.id === 'confirm-no'")  # Enter alone erases nothing
        page.keyboard.press("Enter")
        page.click("#entry-remove")
        page.click("#confirm-yes")
        one.wait_text("#items-count", "2 entries")
        page.click("#items-clear")
        page.click("#confirm-yes")
        one.wait_text("#items-count", "2 items, 6 entries")
        page.keyboard.press("Escape")
    with Gallery.open(shop) as disk:
        assert not disk.ids_of("green") and len(disk) == 6


def test_it_comes_back_by_itself_when_the_program_restarts(browser: Any, bundle: Path, shop: Path) -> None:
    with kiosk(bundle, LIVE, shop) as running:
        port = running.client.port
        one = Visit(browser, running.url)
        one.page.wait_for_selector(ANSWERED)
        one.page.evaluate("window.same = true")
    one.wait_text("#camera-word", "Not connected")
    assert one.text("#label") == "No answer" and one.page.locator("#veil").is_visible()
    with kiosk(bundle, LIVE, shop, where=f"127.0.0.1:{port}"):
        one.page.wait_for_selector(ANSWERED)
        assert one.page.evaluate("window.same"), "without being loaded again"
        assert one.page.locator("#veil").is_hidden() and one.complaints == []
    one.close()


def test_a_lost_camera_is_told_in_words_and_shows_no_label(browser: Any, bundle: Path, shop: Path) -> None:
    camera = HttpCamera(stream)
    camera.start()
    with kiosk(bundle, camera.url("me:secret@"), shop) as running, visit(browser, running) as one:
        one.page.wait_for_selector(ANSWERED)
        camera.stop()
        one.wait_text("#camera-word", "The camera is lost")
        one.wait_text("#label", "No answer")
        assert one.page.locator("#veil").is_visible() and "cable" in one.text("#veil-remedy")
        assert one.page.locator("#teach").is_disabled(), "there is nothing to show it"
        one.page.click("#open-status")
        one.wait_text("#status-facts", "Source")
        assert "secret" not in one.page.content()
        one.page.keyboard.press("Escape")
        camera.start()
        one.page.wait_for_selector(ANSWERED)
        camera.stop()


def test_a_screen_reader_finds_its_way_and_is_not_talked_over(browser: Any, bundle: Path, shop: Path) -> None:
    with http_camera(stream) as camera, kiosk(bundle, camera.url(), shop) as running, visit(browser, running) as one:
        one.page.wait_for_selector(".card")
        tree = one.page.locator("body").aria_snapshot()
        for part in (
            "banner:",
            "navigation",
            "main:",
            'heading "Sightline"',
            'region "In view"',
            'region "Live picture"',
        ):
            assert part in tree, part
        assert 'button "Teach this"' in tree and 'img "What the camera sees"' in tree
        assert "% similar, sku red-" in tree, "a match says what it is"
        one.wait_text("#spoken", "red")
        one.page.evaluate(COUNT_SPOKEN)
        one.page.wait_for_timeout(4000)
        assert one.page.evaluate("window.spoken") == 0, "what stays is not said again"
        assert one.page.locator("[aria-live]").count() == 1


def test_keys_can_be_turned_off_and_are_letters_in_a_field(browser: Any, bundle: Path, shop: Path) -> None:
    with kiosk(bundle, LIVE, shop) as running, visit(browser, running) as one:
        page = one.page
        page.wait_for_selector(ANSWERED)
        page.keyboard.press("i")
        page.wait_for_selector("#items-panel[open]")
        page.fill("#items-query", "")
        page.type("#items-query", "tiu")
        assert page.locator("#teach-panel").is_hidden()
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        page.click("#open-status")
        page.uncheck("#shortcuts")
        page.keyboard.press("Escape")
        page.keyboard.press("t")
        assert page.locator("#teach-panel").is_hidden()


def test_without_a_gallery_there_is_only_the_answer(browser: Any, bundle: Path) -> None:
    with kiosk(bundle, LIVE, None) as running, visit(browser, running) as one:
        one.page.wait_for_selector(ANSWERED)
        for hidden in ("#actions", "#matches", "#open-items"):
            assert one.page.locator(hidden).is_hidden()
        one.page.keyboard.press("t")
        assert one.page.locator("#teach-panel").is_hidden()


def test_the_token_is_asked_for_and_leaves_the_address(browser: Any, bundle: Path, shop: Path) -> None:
    with kiosk(bundle, LIVE, shop, where="0.0.0.0:0") as running:
        token = next(line for line in running.notes.said if "token" in line).split("once: ")[1].split(" ")[0]
        state_url = f"http://127.0.0.1:{running.client.port}/"
        one = Visit(browser, state_url)
        one.page.wait_for_selector("#sign-panel[open]")
        one.page.fill("#token", "wrong")
        one.page.keyboard.press("Enter")
        one.wait_text("#sign-error", "not the token")
        one.page.fill("#token", token)
        one.page.keyboard.press("Enter")
        one.page.wait_for_selector(ANSWERED)
        one.close()
        two = Visit(browser, f"{state_url}#token={token}")
        two.page.wait_for_selector(ANSWERED)
        assert two.page.url == state_url and not any(token in url for url in two.requests[1:])
        two.close()


def test_another_site_can_neither_order_nor_look(browser: Any, bundle: Path, shop: Path, tmp_path: Path) -> None:
    """A page of another origin in the same browser, with every way there is to send a request."""
    with kiosk(bundle, LIVE, shop) as running:
        state_where(running.client, lambda state: state["answer"] is not None)
        with http_camera(content_type="text/html") as elsewhere:
            elsewhere.answers = [lambda gone: iter([b"<title>evil</title>"])]
            one = Visit(browser, elsewhere.url())
            for port_url in (running.url, running.url.replace("127.0.0.1", "localhost")):
                got = one.page.evaluate(ATTACK, port_url)
                assert got == ["blocked"] * 4, port_url
                assert not any("Teach this" in frame.content() for frame in one.page.frames[1:]), "framed"
            one.close()
        assert running.client.get("/api/items").json["entries"] == 9
        assert not running.client.view().state["told"]


CONTRAST = """(selector) => {
  const parse = (colour) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = (rgb) => [0.2126, 0.7152, 0.0722].reduce((sum, share, at) => {
    const value = rgb[at] / 255;
    return sum + share * (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  }, 0);
  const element = document.querySelector(selector);
  let behind = element;
  while (parse(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const front = light(parse(getComputedStyle(element).color));
  const back = light(parse(getComputedStyle(behind).backgroundColor));
  return (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
}"""

COUNT_SPOKEN = """() => {
  window.spoken = 0;
  const spoken = document.getElementById("spoken");
  new MutationObserver(() => window.spoken++).observe(spoken, { childList: true, subtree: true });
}"""

ATTACK = """async (url) => {
  const body = JSON.stringify({ label: "red" });
  const tries = [
    fetch(url + "api/remove", { method: "POST", body, headers: { "Content-Type": "application/json" } }),
    fetch(url + "api/remove", { method: "POST", body, mode: "no-cors" }),
    fetch(url + "api/view"),
    new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = resolve;
      image.onerror = reject;
      image.src = url + "api/crops/1";
    }),
  ];
  const frame = document.createElement("iframe");
  frame.src = url;
  document.body.append(frame);
  await new Promise((resolve) => (frame.onload = resolve));
  const unread = (reply) => (reply?.type === "opaque" ? "blocked" : "went through");
  const how = (promise) => promise.then(unread, () => "blocked");
  return Promise.all(tries.map(how));
}"""
