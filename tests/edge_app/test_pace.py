"""How many frames are read, and fewer while the device is hot."""

import threading
import time
from pathlib import Path

import pytest

from sightline.edge_app import live, mjpeg
from sightline.edge_app.connection import ThreadConnection
from sightline.edge_app.controls import Stop
from sightline.edge_app.heat import Heat, read_heat
from sightline.edge_app.live import RunOptions, run_live
from sightline.edge_app.loop import Limits
from sightline.edge_app.pace import Governor, Pace
from sightline.edge_app.sources import parse_source
from tests.edge_app.cameras import http_camera, jpeg, part
from tests.edge_app.kiosks import Notes
from tests.factories import tiny_bundle

COOL = Heat(40.0, (), (), None, True, False)
ZONE = "sys/class/thermal/thermal_zone0"
COOLER = "sys/class/thermal/cooling_device0"
COUNT = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
PI = "sys/devices/platform/soc/soc:firmware/get_throttled"


def hot(*why: str, times: int | None = None) -> Heat:
    return Heat(85.0, why, (), times, True, times is not None)


def system(root: Path, **files: str) -> Path:
    for name, text in files.items():
        file = root / {"zone": ZONE, "cooler": COOLER}.get(name.partition("_")[0], "") / name.partition("_")[2]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("files", "now", "tells"),
    [
        ({}, (), False),
        ({"zone_temp": "70000"}, (), False),
        ({"zone_temp": "70000", "zone_trip_point_0_type": "passive", "zone_trip_point_0_temp": "80000"}, (), True),
        (
            {"zone_temp": "80500", "zone_trip_point_0_type": "passive", "zone_trip_point_0_temp": "80000"},
            ("80 °C, its limit",),
            True,
        ),
        ({"zone_temp": "90000", "zone_trip_point_0_type": "critical", "zone_trip_point_0_temp": "80000"}, (), False),
        ({"zone_temp": "90000", "zone_trip_point_0_type": "passive", "zone_trip_point_0_temp": "-274000"}, (), False),
        ({"zone_temp": "nonsense"}, (), False),
        ({"cooler_type": "Processor", "cooler_cur_state": "2"}, ("the kernel holds the processor back",), True),
        ({"cooler_type": "cpufreq-cpu0", "cooler_cur_state": "0"}, (), False),
        ({"cooler_type": "pwm-fan", "cooler_cur_state": "3"}, (), False),
    ],
)
def test_what_the_kernel_tells_of_heat(
    tmp_path: Path, files: dict[str, str], now: tuple[str, ...], tells: bool
) -> None:
    heat = read_heat(system(tmp_path, **files))
    assert (heat.now, heat.tells) == (now, tells)


def test_counts_and_the_raspberry_pi(tmp_path: Path) -> None:
    for name, text in ((COUNT, "7\n"), (PI, "50004\n")):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    heat = read_heat(tmp_path)
    assert heat.times == 7 and heat.now == ("throttled",) and heat.once == ("under-voltage", "throttled")


def test_frames_are_due_at_an_even_rate() -> None:
    pace, taken = Pace(10.0), []
    for tick in range(300):  # a camera of 30 frames a second
        now = tick / 30
        if pace.wait_s(now) == 0:
            pace.taken(now)
            taken.append(now)
    assert len(taken) == pytest.approx(100, abs=2)
    pace.taken(1000.0)
    assert pace.wait_s(1000.0) <= 0.1, "a pause is not caught up on"
    assert Pace().wait_s(0.0) == 0


class Device:
    """A governor, and the time and frames that it sees."""

    def __init__(self, asked_fps: float | None = None) -> None:
        self.heat, self.now, self.frames, self.said = COOL, 0.0, 0, list[str]()
        self.pace = Pace(asked_fps)
        self.governor = Governor(self.pace, lambda: self.heat, lambda: self.frames, self.said.append, lambda: self.now)

    def look(self, looks: int = 1, fps: float = 30.0) -> float | None:
        for _ in range(looks):
            self.now += 5.0
            self.frames += round(5 * min(fps, self.pace.fps or fps))
            self.governor.look()
        return self.pace.fps


def test_a_hot_device_answers_fewer_frames_until_it_has_cooled() -> None:
    device = Device()
    assert device.look() is None
    device.heat = hot("throttled")
    assert device.look() == pytest.approx(21)
    assert device.pace.slowed == "at most 21 fps: throttled"
    assert device.look() == pytest.approx(14.7)
    assert device.look(30) == 1.0, "it goes on, however hot"
    device.heat = COOL
    assert device.look(5) == 1.0
    assert device.look(1) == pytest.approx(1.25)
    assert device.look(6 * 16) is None and device.pace.slowed == ""
    assert len(device.said) == 2 and "throttled" in device.said[0] and "cooled" in device.said[1]


def test_the_rate_that_was_asked_for_is_not_exceeded() -> None:
    device = Device(asked_fps=5.0)
    device.look()
    device.heat = hot("80 °C, its limit")
    assert device.look() == pytest.approx(3.5)
    device.heat = COOL
    assert device.look(18) == 5.0


def test_a_count_that_grows_is_throttling_and_one_that_stands_is_not() -> None:
    device = Device()
    device.governor = Governor(
        device.pace, lambda: device.heat, lambda: device.frames, device.said.append, lambda: device.now
    )
    device.heat = hot(times=7)
    device.look()
    assert device.look() is None, "what was counted before the run began says nothing of now"
    device.heat = hot(times=8)
    assert device.look() == pytest.approx(21)


def test_without_frames_nothing_is_lowered() -> None:
    device = Device()
    device.heat = hot("throttled")
    assert device.look(3, fps=0) is None and not device.said


def test_frames_that_are_not_due_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    decode = mjpeg.decode_image
    monkeypatch.setattr(mjpeg, "decode_image", lambda data, name: decoded.append(1) or decode(data, name))

    def fast(gone: object) -> object:
        for seed in range(1000):
            yield part(jpeg("red", seed % 5))
            time.sleep(0.01)

    with http_camera(fast) as camera:
        connection = ThreadConnection(parse_source(camera.url()), 0, Pace(5.0))
        time.sleep(1.2)
        frames = connection.frames
        connection.abandon()
        connection.join(5)
    assert 3 <= frames <= 8 and len(decoded) <= frames + 1


def test_a_run_that_is_hot_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = system(tmp_path / "root", cooler_type="Processor", cooler_cur_state="0")
    monkeypatch.setattr(live, "_SYSTEM", zone)
    monkeypatch.setattr("sightline.edge_app.pace.CHECK_S", 0.2)
    notes = Notes()
    options = RunOptions(
        str(tiny_bundle(tmp_path / "b")), "test://?size=64x48&fps=60", headless=True, limits=Limits(duration_s=2.0)
    )
    threading.Timer(0.8, lambda: (zone / COOLER / "cur_state").write_text("1\n")).start()
    run_live(options, Stop(), notes)
    assert any("holds the processor back" in line for line in notes.said)
