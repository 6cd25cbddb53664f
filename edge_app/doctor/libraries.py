"""Libraries, each imported in a child process, and what runs models."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

from .child import Outcome, run_python
from .finding import Finding, Level, ok

_IMPORT = "import importlib, sys; m = importlib.import_module(sys.argv[1]); print(getattr(m, '__version__', ''))"
_PROVIDERS = """
import os
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime
print(",".join(onnxruntime.get_available_providers()))
"""
_WINDOW = "from sightline.edge_app.window import display_problem; print(display_problem() or '')"


@dataclass(frozen=True, slots=True)
class Library:
    """A library: the module, the package that brings it, what happens without it, and our extra that has it."""

    module: str
    package: str
    without: str = ""
    extra: str = ""

    @property
    def install(self) -> str:
        """What pip is to install."""
        return f"sightline[{self.extra}]" if self.extra else self.package

    @property
    def needed(self) -> bool:
        """Whether nothing works without it."""
        return not self.without


LIBRARIES = (
    Library("numpy", "numpy"),
    Library("cv2", "opencv-python"),
    Library("onnxruntime", "onnxruntime"),
    Library("hnswlib", "hnswlib", "galleries are searched exactly, which is slower from some ten thousand entries on"),
    Library("uvicorn", "uvicorn", "there is no --kiosk", "kiosk"),
    Library("paho.mqtt.client", "paho-mqtt", "there is no --mqtt", "outputs"),
    Library("prometheus_client", "prometheus_client", "there is no --metrics", "outputs"),
)


def examine_libraries(libraries: tuple[Library, ...] = LIBRARIES) -> Iterator[Finding]:
    """Import each library in a child process."""
    for library in libraries:
        yield _library(library, run_python(_IMPORT, library.module))
    yield from _opencv_twice({(one.metadata["Name"] or "").lower() for one in distributions()})


def examine_providers(root: Path) -> Iterator[Finding]:
    """Ask ONNX Runtime, in a child process, what it can run models on."""
    outcome = run_python(_PROVIDERS)
    if outcome.trouble:
        return
    providers = [name.removesuffix("ExecutionProvider").lower() for name in outcome.said.strip().split(",")]
    yield providers_finding(providers, root)


def providers_finding(providers: list[str], root: Path) -> Finding:
    """Judge the providers by the hardware that is there."""
    said = ", ".join(name for name in providers if name != "azure")
    if (root / "etc/nv_tegra_release").exists() and "cuda" not in providers:
        remedy = "a Jetson's GPU needs NVIDIA's own onnxruntime-gpu wheel for this JetPack; until then the CPU runs it"
        return Finding("providers", Level.NOTE, said, remedy)
    if (root / "proc/driver/nvidia/version").exists() and "cuda" not in providers:
        remedy = "for the NVIDIA GPU: pip uninstall onnxruntime; pip install onnxruntime-gpu"
        return Finding("providers", Level.NOTE, said, remedy)
    return ok("providers", said)


def examine_display(environment: Mapping[str, str]) -> Finding:
    """Try to open a window, in a child process."""
    outcome = run_python(_WINDOW)
    problem = outcome.trouble or outcome.said.strip()
    if problem:
        return Finding("display", Level.NOTE, problem, "run with --headless or --kiosk, or start it on the desktop")
    return ok("display", f"windows can be opened on {environment.get('DISPLAY') or environment.get('WAYLAND_DISPLAY')}")


def _library(library: Library, outcome: Outcome) -> Finding:
    name = library.module.partition(".")[0]
    if not outcome.trouble:
        return ok(name, _version(library.package, outcome.said.strip()))
    level = Level.FAIL if library.needed else Level.NOTE
    without = f" ({library.without})" if library.without else ""
    if "ModuleNotFoundError" in outcome.trouble:
        return Finding(name, level, f"is not installed{without}", f"pip install '{library.install}'")
    if outcome.died:
        remedy = (
            f"its build is not for this processor: pip install --force-reinstall --no-binary :all: {library.package}"
        )
        if name == "onnxruntime":
            remedy = "its build is not for this processor: pip install another version, e.g. 'onnxruntime==1.20.1'"
        return Finding(name, Level.FAIL, f"importing it: {outcome.trouble}", remedy)
    remedy = f"pip install --force-reinstall '{library.package}'"
    if "libGL" in outcome.trouble or "libgthread" in outcome.trouble or "libxcb" in outcome.trouble:
        remedy = "sudo apt install libgl1 libglib2.0-0, or pip install opencv-python-headless instead of opencv-python"
    return Finding(name, Level.FAIL if library.needed else Level.WARN, outcome.trouble, remedy)


def _version(package: str, told: str) -> str:
    try:
        return told or version(package)
    except PackageNotFoundError:
        return "is there"


def _opencv_twice(installed: set[str]) -> Iterator[Finding]:
    there = sorted(name for name in installed if name.startswith("opencv-") and "python" in name)
    if len(there) > 1:
        remedy = f"they overwrite each other: pip uninstall {' '.join(there)}; pip install {there[0]}"
        yield Finding("opencv", Level.WARN, f"installed at once: {', '.join(there)}", remedy)
