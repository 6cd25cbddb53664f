"""A bundle and a gallery, checked by our own commands in a child process."""

import platform
from pathlib import Path
from typing import Any

import msgspec

from .child import run_sightline
from .finding import Finding, Level, ok
from .machine import cpu_flags


def examine_bundle(path: str, root: Path) -> list[Finding]:
    """Check every byte of a bundle and its golden answers on this machine, and whether it suits the processor."""
    outcome = run_sightline("verify", path, "--json")
    if outcome.trouble:
        said = outcome.trouble.removeprefix("sightline: ")
        return [Finding("bundle", Level.FAIL, said, "copy the bundle again; if that does not help, export it anew")]
    golden = msgspec.json.decode(outcome.said)["golden"]
    images = sum(one["images"] for one in golden.values())
    whole = ok("bundle", f"whole, {images} golden answers of {', '.join(golden)} as exported")
    return [whole, *_suits(path, root), *_tuned(path)]


def examine_gallery(path: str) -> Finding:
    """Read every byte of a gallery."""
    outcome = run_sightline("gallery", "check", path)
    if outcome.trouble:
        said = outcome.trouble.removeprefix("sightline: ")
        return Finding(
            "gallery", Level.FAIL, said, f"sightline gallery check {path}; a copy or an export is the way back"
        )
    return ok("gallery", " ".join(outcome.said.split()))


def _tuned(path: str) -> list[Finding]:
    outcome = run_sightline("inspect", path, "--json")
    kept = None if outcome.trouble else msgspec.json.decode(outcome.said).get("tuned")
    remedy = f"sightline tune {path}"
    if kept is None:
        return [Finding("tuned", Level.NOTE, "what runs the bundle fastest here was not measured", remedy)]
    if kept["changes"]:
        return [Finding("tuned", Level.WARN, f"the choice does not hold: {'; '.join(kept['changes'])}", remedy)]
    one, many = kept["tuned"]["one"], kept["tuned"]["many"]
    words = [f"{choice['variant']} on {choice['provider']}, {choice['threads']} threads" for choice in (one, many)]
    return [ok("tuned", f"{words[0]}; folders: {words[1]}")]


def _suits(path: str, root: Path) -> list[Finding]:
    manifest = _manifest(Path(path))
    variants = {one["name"]: one for one in manifest.get("variants", [])}
    default = variants.get(manifest.get("default_variant", ""), {})
    target, flags = default.get("target", "any"), cpu_flags(root)
    vnni = bool(flags & {"avx512_vnni", "avx_vnni"})
    arm = platform.machine() in ("aarch64", "arm64")
    wrong = (target == "x86-vnni" and not vnni) or (target == "arm64" and not arm)
    if not wrong:
        return []
    remedy = f"export with --target {'arm64' if arm else 'portable'}, or run --variant fp32"
    return [Finding("variant", Level.WARN, f"'{default['name']}' was made for {target}, which this is not", remedy)]


def _manifest(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        return {}
    decoded: dict[str, Any] = msgspec.json.decode((path / "manifest.json").read_bytes())
    return decoded
