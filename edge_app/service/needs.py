"""What a run with these options needs of the machine, read from its options."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from ..listening import is_loopback, parse_listening
from .config import paths_of
from .unit import Needs

_WRITTEN = ("gallery", "json", "record", "events", "trace")
_FAR_AWAY = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "udp", "tcp", "rtp", "srt")


def needs_of(command: click.Command, given: Mapping[str, Any]) -> Needs:
    """Tell what a run needs.

    Args:
        command: `sightline run`.
        given: Its options by parameter name, paths and the programs of commands absolute.
    """
    paths = paths_of(command, given)
    source = str(given["source"])
    scheme = urlsplit(source).scheme if "://" in source else ""
    provider = str(given.get("provider") or "auto")
    reads = [paths["bundle"]]
    if not scheme and not source.isdecimal() and not source.startswith("/dev/"):
        reads.append(Path(source))
    commands = [str(one) for one in given.get("on_event") or ()]
    reads += [Path(shlex.split(one)[0]) for one in commands]
    return Needs(
        writes=tuple(paths[name] for name in _WRITTEN if name in paths),
        reads=tuple(reads),
        camera=scheme in ("camera", "v4l2") or source.isdecimal() or source.startswith("/dev/"),
        network=_far(source, scheme) or any(map(_beyond, _hosts(given))),
        loopback=bool(_hosts(given)) or scheme in _FAR_AWAY,
        any_device=_any_device(scheme, provider) or bool(commands),
        runs_commands=bool(commands),
        token=any(map(_beyond, _listening_hosts(given, "kiosk"))),
    )


def _any_device(scheme: str, provider: str) -> bool:
    return scheme in ("picamera", "screen") or provider not in ("auto", "cpu") or Path("/dev/nvidia0").exists()


def _far(source: str, scheme: str) -> bool:
    return scheme in _FAR_AWAY and _beyond(urlsplit(source).hostname or "")


def _hosts(given: Mapping[str, Any]) -> list[str]:
    """Hosts that the outputs speak with or listen at."""
    addresses = [given.get("mqtt"), *(given.get("webhooks") or ())]
    hosts = [urlsplit(str(one)).hostname or "" for one in addresses if one]
    return hosts + _listening_hosts(given, "metrics", "kiosk")


def _listening_hosts(given: Mapping[str, Any], *options: str) -> list[str]:
    return [parse_listening(str(given[name]), f"--{name}")[0] for name in options if given.get(name)]


def _beyond(host: str) -> bool:
    return not is_loopback(host)
