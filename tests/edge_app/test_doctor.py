"""The doctor: this machine, machines that are described by files, libraries that kill their process."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.edge_app import cli
from sightline.edge_app.doctor.cameras import examine_cameras
from sightline.edge_app.doctor.child import run_python
from sightline.edge_app.doctor.finding import Finding, Level
from sightline.edge_app.doctor.libraries import Library, examine_libraries, providers_finding
from sightline.edge_app.doctor.machine import examine_machine
from tests.factories import tiny_bundle


def system(folder: Path, **files: str) -> Path:
    """A root with these files; __ stands for / and _DOT_ for a dot."""
    for name, text in files.items():
        file = folder / name.replace("_DOT_", ".").replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def named(findings: list[Finding], name: str) -> Finding:
    return next(finding for finding in findings if finding.name == name)


@pytest.mark.parametrize(
    ("files", "name", "level", "said"),
    [
        ({"sys__class__thermal__thermal_zone0__temp": "85300\n"}, "temperature", Level.WARN, "85 °C"),
        ({"sys__class__thermal__thermal_zone0__temp": "45300\n"}, "temperature", Level.OK, "45 °C"),
        ({}, "temperature", Level.NOTE, "does not tell"),
        ({"proc__meminfo": "MemTotal: 4000000 kB\nMemAvailable: 300000 kB\n"}, "memory", Level.WARN, "0.3 of 4.1 GB"),
        (
            {
                "proc__meminfo": "MemTotal: 4000000 kB\nMemAvailable: 3000000 kB\n",
                "sys__fs__cgroup__memory_DOT_max": "200000000\n",
            },
            "memory",
            Level.WARN,
            "control group",
        ),
        (
            {"sys__devices__system__cpu__cpu0__thermal_throttle__core_throttle_count": "7\n"},
            "throttling",
            Level.NOTE,
            "7 times",
        ),
        (
            {"sys__devices__system__cpu__cpu0__cpufreq__scaling_governor": "powersave\n"},
            "cores",
            Level.WARN,
            "powersave",
        ),
    ],
)
def test_a_machine_is_judged_by_what_its_kernel_tells(
    tmp_path: Path, files: dict[str, str], name: str, level: Level, said: str
) -> None:
    finding = named(list(examine_machine(system(tmp_path, **files), tmp_path)), name)
    assert finding.level is level and said in finding.detail
    assert bool(finding.remedy) == (level is Level.WARN or name == "throttling")


@pytest.mark.parametrize(
    ("word", "level", "said", "remedy"),
    [
        ("0", Level.OK, "never", ""),
        ("50005", Level.WARN, "now: under-voltage, throttled", "power supply"),
        ("80000", Level.NOTE, "since the start: soft temperature limit", "air"),
    ],
)
def test_a_raspberry_pi_tells_why_it_is_slow(tmp_path: Path, word: str, level: Level, said: str, remedy: str) -> None:
    file = tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled"
    file.parent.mkdir(parents=True)
    file.write_text(word + "\n")
    finding = named(list(examine_machine(tmp_path, tmp_path)), "throttling")
    assert finding.level is level and said in finding.detail and remedy in finding.remedy


def test_a_processor_without_vnni_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    root = system(tmp_path, proc__cpuinfo="flags\t\t: fpu avx avx2\n")
    finding = named(list(examine_machine(root, tmp_path)), "processor")
    assert finding.level is Level.NOTE and "avx2" in finding.detail and "saturate" in finding.remedy


def test_libraries_that_are_missing_broken_or_deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deadly.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    (tmp_path / "broken.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    libraries = (
        Library("deadly", "deadly"),
        Library("broken", "broken"),
        Library("absent_one", "absent"),
        Library("absent_two", "two", "there is no two", "extra"),
        Library("json", "json"),
    )
    found = list(examine_libraries(libraries))
    assert [one.level for one in found[:5]] == [Level.FAIL, Level.FAIL, Level.FAIL, Level.NOTE, Level.OK]
    assert "SIGILL" in found[0].detail and "not for this processor" in found[0].remedy
    assert "libgl1" in found[1].remedy and "sightline[extra]" in found[3].remedy


def test_the_doctor_itself_imports_nothing_risky() -> None:
    code = (
        "import sys, sightline.edge_app.cli, sightline.edge_app.commands.doctor, "
        "sightline.edge_app.doctor.examination\n"
        "print(sorted({'numpy', 'cv2', 'onnxruntime', 'hnswlib'} & set(sys.modules)))"
    )
    assert run_python(code).said.strip() == "[]"


@pytest.mark.parametrize(
    ("providers", "files", "level"),
    [
        (["cpu"], {}, Level.OK),
        (["cpu"], {"proc__driver__nvidia__version": "550"}, Level.NOTE),
        (["cuda", "cpu"], {"proc__driver__nvidia__version": "550"}, Level.OK),
        (["cpu"], {"etc__nv_tegra_release": "R36"}, Level.NOTE),
    ],
)
def test_a_gpu_that_lies_idle_is_told(
    tmp_path: Path, providers: list[str], files: dict[str, str], level: Level
) -> None:
    finding = providers_finding(providers, system(tmp_path, **files))
    assert finding.level is level and bool(finding.remedy) == (level is not Level.OK)


def test_cameras_that_are_not_there_not_allowed_or_no_cameras(tmp_path: Path) -> None:
    assert next(iter(examine_cameras(tmp_path))).name == "cameras"
    system(tmp_path, dev__video0="", sys__class__video4linux__video0__name="HD Webcam\n")
    silent = next(iter(examine_cameras(tmp_path)))
    assert silent.level is Level.WARN and "HD Webcam" in silent.detail
    pi = system(tmp_path / "pi", **{"proc__device-tree__model": "Raspberry Pi 5\x00"})
    assert named(list(examine_cameras(pi)), "picamera").remedy.startswith("sudo apt install python3-picamera2")


def sightline_doctor(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
    command = [sys.executable, "-m", "sightline.edge_app", "doctor", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def test_the_command_with_a_bundle_and_a_gallery_that_is_none(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b")
    done = sightline_doctor("--bundle", str(bundle), "--gallery", str(tmp_path / "none"), "--json")
    told = json.loads(done.stdout)
    levels = {finding["name"]: finding["level"] for finding in told["findings"]}
    assert done.returncode == 1 and not told["healthy"]
    assert levels["bundle"] == "ok" and levels["gallery"] == "fail" and levels["onnxruntime"] == "ok"
    assert all(finding["remedy"] for finding in told["findings"] if finding["level"] in ("warn", "fail"))


def test_a_damaged_bundle_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tiny_bundle(tmp_path / "b")
    model = next(bundle.glob("*.onnx"))
    model.write_bytes(model.read_bytes()[:-1] + b"\x00")
    monkeypatch.setattr("sightline.edge_app.doctor.examination.examine_libraries", lambda: iter(()))
    monkeypatch.delenv("DISPLAY", raising=False)
    assert cli.run(["doctor", "--bundle", str(bundle)]) == 1
    assert "was changed after export" in capsys.readouterr().out
