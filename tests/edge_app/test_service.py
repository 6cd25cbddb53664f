"""Configuration files, units, and what they say to a run."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from sightline.edge_app import cli
from sightline.edge_app.commands.run import command as run_command
from sightline.edge_app.kiosk.access import make_door
from sightline.edge_app.kiosk.address import Address as KioskAddress
from sightline.edge_app.service.config import keys_of, read_config, render_config
from sightline.edge_app.service.installer import Places
from sightline.edge_app.service.plan import plan_service
from sightline.edge_app.service.unit import render_unit
from sightline.runtime.errors import InputError
from tests.factories import tiny_bundle


@pytest.fixture
def opt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bundle that counts as none of /tmp, which services do not see."""
    monkeypatch.setattr("sightline.edge_app.service.unit._TEMPORARY", ("/nowhere",))
    tiny_bundle(tmp_path / "kiosk.bundle")
    return tmp_path


def config(tmp_path: Path, text: str) -> dict[str, Any]:
    (tmp_path / "run.toml").write_text(text)
    return read_config(tmp_path / "run.toml", run_command)


def test_every_option_of_run_is_a_key(tmp_path: Path) -> None:
    options = {param.name for param in run_command.params} - {"config", "help"}
    assert {param.name for param in keys_of(run_command).values()} == options
    text = render_config(run_command, {"bundle": "b", "source": "0"})
    assert config(tmp_path, text) == {"bundle": "b", "source": "0"}
    # Every line that is a comment with a value is a valid one once it is uncommented and of its default's kind.
    keys = [line.split(" = ")[0].removeprefix("# ") for line in text.splitlines() if " = " in line]
    assert set(keys) == set(keys_of(run_command))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("source = 0", {"source": "0"}),
        ("k = 3\nevery-frame = true\nduration = 2", {"k": 3, "every_frame": True, "duration": 2.0}),
        ('webhook = ["http://a", "http://b"]', {"webhooks": ("http://a", "http://b")}),
        ("kiosk = true", {"kiosk": "127.0.0.1:8080"}),
        ("kiosk = 8080", {"kiosk": "8080"}),
        ('json-rotate = "10MB"\nmetrics = 9100', {"json_rotate": "10MB", "metrics": "9100"}),
    ],
)
def test_values_of_a_configuration(tmp_path: Path, text: str, values: dict[str, Any]) -> None:
    assert config(tmp_path, text) == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("galery = 'x'", "'galery' is no option of run: did you mean 'gallery'?"),
        ("teach_label = 'x'", "did you mean 'teach-label'?"),
        ("config = 'x'", "'config' is no option of run"),
        ("k = 'many'", "k: expected int, got str"),
        ("k = 0", "k: expected int >= 1"),
        ("every-frame = 1", "every-frame: expected bool, got int"),
        ("webhook = 'http://a'", "webhook: expected array, got str"),
        ("source = ", "is no TOML"),
    ],
)
def test_what_is_wrong_in_a_configuration_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=r"run\.toml") as failed:
        config(tmp_path, text)
    assert said in str(failed.value)


def test_run_takes_its_options_from_a_file_and_the_command_line_wins(
    opt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "test://?size=64x48&fps=0&frames=9"
    (opt / "run.toml").write_text(
        f'bundle = "{opt / "kiosk.bundle"}"\nsource = "{source}"\nheadless = true\n'
        f'json = "{opt / "out.jsonl"}"\nmax-frames = 3\nevents = "{opt / "log.db"}"\n'
    )
    assert cli.run(["run", "--config", str(opt / "run.toml")]) == 0
    assert (opt / "out.jsonl").read_text().count('"frame"') == 3
    assert cli.run(["run", "--config", str(opt / "run.toml"), "--max-frames", "5"]) == 0
    assert (opt / "out.jsonl").read_text().count('"frame"') == 5
    capsys.readouterr()
    assert cli.run(["events", str(opt / "log.db"), "--event", "ended"]) == 0
    assert capsys.readouterr().out.count("the source ended") == 2
    assert cli.run(["run", "--config", str(opt / "none.toml")]) == 1


def install(opt: Path, *words: str, user: str | None = "root") -> int:
    by = ["--user", user] if user else []
    return cli.run(["service", "install", "--root", str(opt / "root"), *by, str(opt / "kiosk.bundle"), *words])


def test_install_show_and_remove(opt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery = opt / "shop.gallery"
    gallery.mkdir()
    assert install(opt, "--source", "0", "--gallery", str(gallery), "--mqtt", "mqtt://me:hunter2@broker/shop") == 0
    unit, written = opt / "root/etc/systemd/system/sightline.service", opt / "root/etc/sightline/sightline.toml"
    text = unit.read_text()
    for line in (
        "Type=notify",
        "WatchdogSec=60",
        "WatchdogSignal=SIGTERM",
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "ProtectSystem=strict",
    ):
        assert line in text.splitlines()
    writable = [line for line in text.splitlines() if line.startswith("ReadWritePaths")]
    assert writable == [f"ReadWritePaths={gallery}"]
    assert "LoadCredential=config:/etc/sightline/sightline.toml" in text and "hunter2" not in text
    assert written.stat().st_mode & 0o077 == 0
    values = read_config(written, run_command)
    assert values["mqtt"] == "mqtt://me:hunter2@broker/shop" and values["headless"] is True
    assert values["bundle"] == str(opt / "kiosk.bundle")
    assert cli.run(["service", "show", "--root", str(opt / "root")]) == 0
    assert "hunter2" not in capsys.readouterr().out
    assert cli.run(["service", "remove", "--root", str(opt / "root")]) == 0
    assert not unit.exists() and not written.exists() and gallery.is_dir()
    assert cli.run(["service", "show", "--root", str(opt / "root")]) == 1


def test_the_token_of_a_kiosk_lasts_and_reaches_no_log(opt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    etc = opt / "root/etc/sightline"
    assert install(opt, "--source", "0", "--kiosk") == 0
    assert not (etc / "sightline.token").exists()
    assert install(opt, "--source", "0", "--kiosk", "0.0.0.0:8080") == 0
    token = (etc / "sightline.token").read_text()
    assert token in capsys.readouterr().err and (etc / "sightline.token").stat().st_mode & 0o077 == 0
    unit = (opt / "root/etc/systemd/system/sightline.service").read_text()
    assert "LoadCredential=kiosk-token:/etc/sightline/sightline.token" in unit and token not in unit
    assert install(opt, "--source", "0", "--kiosk", "0.0.0.0:8081") == 0
    assert (etc / "sightline.token").read_text() == token and token not in capsys.readouterr().err
    # systemd hands it over under this name.
    (etc / "sightline.token").rename(etc / "kiosk-token")
    door = make_door(KioskAddress("0.0.0.0", 8080), {"CREDENTIALS_DIRECTORY": str(etc)})
    assert door.token == token and not door.fresh
    (etc / "kiosk-token").rename(etc / "sightline.token")
    assert cli.run(["service", "remove", "--root", str(opt / "root")]) == 0
    assert not list(etc.iterdir())


@pytest.mark.parametrize(
    ("words", "lines", "absent"),
    [
        (["--source", "0"], ["PrivateNetwork=yes", "DeviceAllow=char-video4linux rw", "DynamicUser=yes"], ["AF_INET"]),
        (["--source", "rtsp://10.0.0.7/x"], ["PrivateDevices=yes"], ["PrivateNetwork", "IPAddressDeny"]),
        (["--source", "0", "--metrics", "9100"], ["IPAddressAllow=localhost"], ["PrivateNetwork"]),
        (["--source", "0", "--metrics", "0.0.0.0:9100"], [], ["PrivateNetwork", "IPAddressDeny"]),
        (["--source", "0", "--kiosk"], ["IPAddressAllow=localhost"], ["PrivateNetwork"]),
        (["--source", "0", "--kiosk", "0.0.0.0"], [], ["PrivateNetwork", "IPAddressDeny"]),
        (["--source", "0", "--kiosk", "[::1]"], ["IPAddressAllow=localhost"], ["PrivateNetwork"]),
        # A relay's script opens /dev/gpiochip0, /dev/ttyUSB0 or whatever it needs.
        (["--source", "rtsp://10.0.0.7/x", "--on-event", "true"], [], ["DevicePolicy", "PrivateDevices"]),
        (["--source", "picamera://0", "--on-event", "true"], [], ["DevicePolicy", "ProtectClock", "PrivateNetwork"]),
    ],
)
def test_a_service_gets_what_it_needs_and_no_more(
    opt: Path, words: list[str], lines: list[str], absent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.edge_app.service.plan.unreachable", lambda paths: None)
    plan = plan_service(run_command, [str(opt / "kiosk.bundle"), *words], Places("till"), None, 60)
    unit = render_unit(plan.service)
    assert set(lines) <= set(unit.splitlines())
    assert not [word for word in absent if word in unit]


@pytest.mark.parametrize("watchdog_s", [10, 30, 60, 600])
def test_a_camera_that_is_away_is_waited_for_as_long_as_it_takes(
    opt: Path, watchdog_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.edge_app.service.plan.unreachable", lambda paths: None)
    words = [str(opt / "kiosk.bundle"), "--source", "0"]
    unit = render_unit(plan_service(run_command, words, Places("till"), None, watchdog_s).service)
    said = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))
    interval_s, starts = int(said["StartLimitIntervalSec"]), int(said["StartLimitBurst"])
    apart_s = int(said["WatchdogSec"]) + int(said["RestartSec"])
    assert interval_s / apart_s + 1 < starts, "the watchdog's own restarts would end the service for good"
    assert starts * (int(said["RestartSec"]) + 5) <= interval_s, "one that cannot start at all is given up"


def test_a_restart_goes_on_with_the_lines_of_before(opt: Path) -> None:
    words = [str(opt / "kiosk.bundle"), "--source", "0", "--json", str(opt / "lines.jsonl")]
    assert plan_service(run_command, words, Places("till"), "root", 60).given["json_append"] is True
    assert "json_append" not in plan_service(run_command, words[:3], Places("till"), "root", 60).given


def test_commands_are_found_from_wherever_the_service_starts(opt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (opt / "relay.sh").write_text("#!/bin/sh\n")
    (opt / "relay.sh").chmod(0o755)
    monkeypatch.chdir(opt)
    words = [str(opt / "kiosk.bundle"), "--source", "0", "--on-event", "./relay.sh 'on now'"]
    plan = plan_service(run_command, words, Places("till"), "root", 60)
    assert plan.given["on_event"] == (f"{opt / 'relay.sh'} 'on now'",) and opt / "relay.sh" in plan.service.needs.reads
    with pytest.raises(InputError, match="no program"):
        plan_service(run_command, [*words, "--on-event", "./none.sh"], Places("till"), "root", 60)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--source", "0", "--stdin"], "--stdin makes no sense"),
        (["--source", "0", "--teach-label", "mug"], "at every start"),
        (["--source", "0", "--gallery", "/srv/none/shop.gallery"], "cannot be written by the user"),
    ],
)
def test_what_cannot_run_as_a_service_is_refused(
    opt: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(opt, *words, user=None) == 1
    assert said in capsys.readouterr().err and not (opt / "root").exists()


def test_folders_for_temporary_files_and_bad_words_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle(tmp_path / "kiosk.bundle")
    monkey = ["service", "install", "--root", str(tmp_path / "root"), "--user", "root"]
    if str(tmp_path).startswith("/tmp"):
        assert cli.run([*monkey, str(bundle), "--source", "0"]) == 1
        assert "temporary files" in capsys.readouterr().err
    assert cli.run([*monkey, str(bundle), "--sorce", "0"]) == 2
    assert cli.run([*monkey, "--name", "../evil", str(bundle), "--source", "0"]) == 1


def test_systemd_finds_nothing_wrong_with_the_unit(opt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: the unit cannot be verified")
    monkeypatch.setattr("sightline.edge_app.service.plan.unreachable", lambda paths: None)
    plan = plan_service(run_command, [str(opt / "kiosk.bundle"), "--source", "0"], Places("till"), None, 60)
    (opt / "till.service").write_text(render_unit(plan.service))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(opt / "till.service")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "till.service" not in done.stderr, done.stderr


def test_the_unit_starts_this_very_program(opt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.edge_app.service.plan.unreachable", lambda paths: None)
    plan = plan_service(run_command, [str(opt / "kiosk.bundle"), "--source", "0"], Places("till"), None, 60)
    start = next(line for line in render_unit(plan.service).splitlines() if line.startswith("ExecStart="))
    assert start == f"ExecStart={sys.executable} -m sightline.edge_app run --config ${{CREDENTIALS_DIRECTORY}}/config"
    with pytest.raises(click.UsageError):
        plan_service(run_command, [str(opt / "kiosk.bundle")], Places("till"), None, 60)
