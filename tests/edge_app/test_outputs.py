"""Webhook, MQTT, commands and figures, against real receivers."""

import json
import os
import stat
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from sightline.edge_app.outputs.event import Event
from sightline.edge_app.outputs.eventlog import Wanted, read_events
from sightline.edge_app.outputs.hook import Hook
from sightline.edge_app.outputs.mqtt import Mqtt
from sightline.edge_app.outputs.outbox import DeliveryFailed, DeliveryRefused
from sightline.edge_app.outputs.outputs import open_outputs
from sightline.edge_app.outputs.settings import OutputOptions
from sightline.edge_app.outputs.webhook import Webhook
from sightline.runtime.errors import InputError, SourceError
from tests.edge_app.receivers import Broker, receiver, wait_until


def event(number: int = 1, label: str | None = "mug ½") -> Event:
    return Event(f"run-{number}", "decision", 1_767_225_600.25, {"label": label, "known": label is not None})


def test_an_event_is_one_json_object() -> None:
    assert json.loads(event().encode()) == {
        "id": "run-1", "time": "2026-01-01T00:00:00.250Z", "event": "decision", "label": "mug ½", "known": True,
    }  # fmt: skip


def test_a_webhook_posts_with_credentials_and_id() -> None:
    with receiver() as one:
        hook = Webhook(f"http://me:p%40ss@{one.url}")
        hook.deliver([event(1), event(2)])
        hook.close()
    assert [got["id"] for got in one.got] == ["run-1", "run-2"]
    assert one.headers[0]["Authorization"] == "Basic bWU6cEBzcw==" and one.headers[1]["Idempotency-Key"] == "run-2"


@pytest.mark.parametrize(("status", "error"), [(500, DeliveryFailed), (401, DeliveryFailed), (422, DeliveryRefused)])
def test_a_webhook_tells_what_may_pass_from_what_will_not(status: int, error: type[Exception]) -> None:
    with receiver() as one:
        one.answers = [status]
        hook = Webhook(f"http://{one.url}")
        with pytest.raises(error, match=str(status)):
            hook.deliver([event()])
        hook.deliver([event()])
        hook.close()
    assert len(one.got) == 1


def test_a_webhook_that_nobody_answers_says_so_without_its_secrets() -> None:
    hook = Webhook("http://me:hunter2@127.0.0.1:9/s3cret")
    with pytest.raises(DeliveryFailed, match="refused") as failed:
        hook.deliver([event()])
    assert "hunter2" not in str(failed.value) + hook.name + repr(hook._address)
    assert "s3cret" not in str(failed.value) + hook.name + repr(hook._address)


@pytest.mark.parametrize("url", ["ftp://h/x", "http://", "no address", "http://h:99999/x", "http://h/ä ö"])
def test_a_webhook_address_that_is_none(url: str) -> None:
    with pytest.raises(InputError, match="--webhook") as failed:
        Webhook(url)
    assert url not in str(failed.value)


def test_mqtt_publishes_status_and_events() -> None:
    broker = Broker(password="hunter2")
    mqtt = Mqtt(f"mqtt://me:hunter2@127.0.0.1:{broker.port}/shop/till-3")
    try:
        mqtt.deliver([event(1), event(2)])
        mqtt.close()
    finally:
        broker.close()
    assert [got["id"] for got in broker.events("shop/till-3/events")] == ["run-1", "run-2"]
    states = [(payload, kept) for topic, payload, kept in broker.published if topic == "shop/till-3/status"]
    assert states == [(b"online", True), (b"offline", True)]
    assert broker.wills == [("shop/till-3/status", b"offline")]
    assert "hunter2" not in mqtt.name


def test_mqtt_comes_back_after_the_broker_does() -> None:
    broker = Broker()
    mqtt = Mqtt(f"mqtt://127.0.0.1:{broker.port}/shop")
    mqtt.deliver([event(1)])
    broker.close()
    with pytest.raises(DeliveryFailed):
        mqtt.deliver([event(2)])
    with pytest.raises(DeliveryFailed, match="refused"):
        mqtt.deliver([event(2)])
    again = Broker(port=broker.port)
    try:
        mqtt.deliver([event(2)])
        mqtt.close()
    finally:
        again.close()
    assert [got["id"] for got in again.events("shop/events")] == ["run-2"]


def test_mqtt_says_online_again_without_an_event() -> None:
    broker = Broker()
    mqtt = Mqtt(f"mqtt://127.0.0.1:{broker.port}/shop")
    mqtt.deliver([event(1)])
    broker.close()
    again = Broker(port=broker.port)
    try:
        wait_until(lambda: ("shop/status", b"online", True) in again.published)
        mqtt.deliver([event(2)])
        mqtt.close()
    finally:
        again.close()
    assert [got["id"] for got in again.events("shop/events")] == ["run-2"]


def test_mqtt_with_a_wrong_password_is_a_sentence_without_it() -> None:
    broker = Broker(password="right")
    try:
        with pytest.raises(DeliveryFailed, match="refuses") as failed:
            Mqtt(f"mqtt://me:wr0ng@127.0.0.1:{broker.port}/shop").deliver([event()])
    finally:
        broker.close()
    assert "wr0ng" not in str(failed.value)


@pytest.mark.parametrize("url", ["mqtt://host", "mqtt://host/a/#", "http://host/a", "mqtt:///a"])
def test_an_mqtt_address_that_is_none(url: str) -> None:
    with pytest.raises(InputError, match="--mqtt"):
        Mqtt(url)


def script(folder: Path, body: str) -> str:
    path = folder / "on event.py"
    path.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f"'{path}'"


def test_a_command_gets_an_event_too_long_for_its_environment(tmp_path: Path) -> None:
    body = "open(sys.argv[1], 'w').write(f\"{len(sys.stdin.read())} {'SIGHTLINE_JSON' in os.environ}\")"
    hook, long = Hook(f"{script(tmp_path, body)} '{tmp_path / 'out'}'", 10, lambda text: None), event()
    long.fields["matches"] = ["x" * 1000] * 200
    hook.deliver([long])
    wait_until(settled(hook))
    assert (tmp_path / "out").read_text() == f"{len(long.encode().decode()) + 1} False"


def settled(hook: Hook) -> Callable[[], bool]:
    return lambda: not hook._running


def test_a_command_gets_the_event_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_MQTT", "mqtt://me:hunter2@host/shop")
    body = "open(sys.argv[1], 'w').write(sys.stdin.read() + json.dumps(dict(os.environ)))"
    said: list[str] = []
    hook = Hook(f"{script(tmp_path, body)} '{tmp_path / 'out put'}'", 10, said.append)
    hook.deliver([event(label="$(touch pwned); mug")])
    wait_until(settled(hook))
    line, environment = (tmp_path / "out put").read_text().split("\n")
    assert json.loads(line)["label"] == "$(touch pwned); mug"
    told = json.loads(environment)
    assert told["SIGHTLINE_LABEL"] == "$(touch pwned); mug" and told["SIGHTLINE_EVENT"] == "decision"
    assert json.loads(told["SIGHTLINE_JSON"]) == json.loads(line)
    assert "hunter2" not in environment and not said and not list(tmp_path.glob("*pwned*"))


def test_a_command_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    body = (
        "import subprocess\nchild = subprocess.Popen(['sleep', '60'])\n"
        "open(sys.argv[1], 'w').write(str(child.pid))\ntime.sleep(60)"
    )
    said: list[str] = []
    hook = Hook(f"{script(tmp_path, body)} '{tmp_path / 'pid'}'", 3.0, said.append)
    hook.deliver([event()])
    wait_until(settled(hook))
    assert "killed" in said[0]
    child = int((tmp_path / "pid").read_text())
    wait_until(lambda: not _runs(child))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_no_more_than_two_commands_run_at_a_time(tmp_path: Path) -> None:
    body = "open(sys.argv[1], 'a').write('+'); time.sleep(0.3); open(sys.argv[1], 'a').write('-')"
    hook = Hook(f"{script(tmp_path, body)} '{tmp_path / 'log'}'", 20, lambda text: None)
    for number in range(6):
        hook.deliver([event(number)])
    wait_until(settled(hook))
    running = highest = 0
    for sign in (tmp_path / "log").read_text():
        running += 1 if sign == "+" else -1
        highest = max(highest, running)
    assert highest <= 2 and running == 0


def test_no_command_outlives_the_run(tmp_path: Path) -> None:
    body = "open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); time.sleep(60)"
    log = tmp_path / "pids"
    options = OutputOptions(on_event=(f"{script(tmp_path, body)} '{log}'",), on_event_timeout_s=60)
    with open_outputs(options, "camera", lambda text: None) as outputs:
        for _ in range(5):
            outputs.announcer.announce("state")
        # Two run, a third waits for one of them to end.
        wait_until(lambda: log.exists() and len(log.read_text().split()) == 2)
    pids = [int(pid) for pid in log.read_text().split()]
    wait_until(lambda: not any(map(_runs, pids)))
    assert len(pids) == 2


def test_a_command_that_fails_is_told_once(tmp_path: Path) -> None:
    said: list[str] = []
    hook = Hook(script(tmp_path, "sys.exit(3)"), 10, said.append)
    for number in range(3):
        hook.deliver([event(number)])
        wait_until(settled(hook))
    assert said == ["command 'on event.py' ended with exit code 3"]


@pytest.mark.parametrize("command", ["", "/no/such/program", "'unclosed"])
def test_a_command_that_is_none(command: str) -> None:
    with pytest.raises(InputError, match="--on-event"):
        Hook(command, 10, lambda text: None)


def scrape(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_figures_of_a_run(tmp_path: Path) -> None:
    from sightline.edge_app.controls import Stop
    from sightline.edge_app.live import RunOptions, run_live
    from sightline.runtime.reporter import QuietReporter
    from tests.factories import tiny_bundle

    class Screen(QuietReporter):
        def __init__(self) -> None:
            self.text = ""

        def say(self, text: str) -> None:
            self.text += text + "\n"

    screen, stop = Screen(), Stop()
    outputs = OutputOptions(metrics="0", events=str(tmp_path / "log.db"))
    options = RunOptions(
        str(tiny_bundle(tmp_path / "b")), "test://?size=64x48&fps=50", headless=True, every_frame=True, outputs=outputs
    )
    thread = threading.Thread(target=run_live, args=(options, stop, screen))
    thread.start()
    try:
        wait_until(lambda: "metrics: " in screen.text)
        url = screen.text.partition("metrics: ")[2].split()[0]
        wait_until(lambda: 'frames_total{result="answered"} ' in scrape(url))
        text = scrape(url)
    finally:
        stop.ask("test")
        thread.join(20)
    assert 'sightline_source_state{state="live"} 1.0' in text and "sightline_inference_seconds_bucket" in text
    assert 'sightline_output_delivered_total{output="event log' in text and 'variant="' in text
    with pytest.raises(OSError):
        scrape(url)


def test_outputs_hear_why_a_run_failed(tmp_path: Path) -> None:
    from sightline.edge_app.controls import Stop
    from sightline.edge_app.live import RunOptions, run_live
    from tests.factories import tiny_bundle

    log = tmp_path / "log.db"
    options = RunOptions(
        str(tiny_bundle(tmp_path / "b")),
        "http://127.0.0.1:9/video",
        headless=True,
        connect_s=0.2,
        outputs=OutputOptions(events=str(log)),
    )
    with pytest.raises(SourceError):
        run_live(options, Stop())
    last = json.loads(next(iter(read_events(log, Wanted(last=1)))))
    assert last["event"] == "ended" and "refused" in last["reason"] and last["frames"] == 0
