"""The systemd unit of a run: as few rights as the run needs, restarted when it does not live.

What is given and why is written beside each line of the unit, for the person who reads it at the device.
"""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# A camera whose driver hangs is freed by a start, as often as it takes; a program that cannot start at all is given up.
# With the watchdog's 60 s and 5 s between starts the former are nine in ten minutes, the latter all of them within two.
WATCHDOG_S = 60
RESTART_S = 5
STARTS = 12
STARTS_S = 600
_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a run needs of the machine.

    Attributes:
        writes: Files and folders it writes.
        reads: Files and folders it reads besides the program.
        camera: Whether it opens a camera of this machine.
        network: Whether it speaks with other machines or serves them.
        loopback: Whether it serves or reaches only this machine.
        any_device: Whether devices cannot be listed beforehand (GPUs, the Raspberry Pi's camera, what commands use).
        runs_commands: Whether it starts commands of the user's.
        token: Whether it serves a page that asks other machines for a token.
    """

    writes: tuple[Path, ...] = ()
    reads: tuple[Path, ...] = ()
    camera: bool = False
    network: bool = False
    loopback: bool = False
    any_device: bool = False
    runs_commands: bool = False
    token: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """What is installed.

    Attributes:
        name: Of the unit, without its suffix.
        config: The configuration file.
        user: Whom it runs as; None makes a user for it.
        needs: What the run needs.
        watchdog_s: Seconds without an answer until it is started again.
        program: The words that start `sightline`.
    """

    name: str
    config: Path
    user: str | None
    needs: Needs
    watchdog_s: int = WATCHDOG_S
    program: tuple[str, ...] = (sys.executable, "-m", "sightline.edge_app")

    @property
    def state(self) -> Path:
        """The folder that systemd keeps for it."""
        return Path("/var/lib") / self.name


def render_unit(service: Service) -> str:
    """Write the unit."""
    return "\n".join([*_head(service), *_start(service), *_identity(service), *_files(service), *_rights(service), ""])


def _head(service: Service) -> Iterator[str]:
    yield f"# Made by 'sightline service install'; its options are in {service.config}."
    yield "[Unit]"
    yield f"Description=Sightline: {service.name}"
    yield "Documentation=man:systemd.service(5)"
    if service.needs.network:
        yield "Wants=network-online.target"
        yield "After=network-online.target"
    yield f"StartLimitIntervalSec={_limit_s(service.watchdog_s)}"
    yield f"StartLimitBurst={STARTS}"
    yield ""


def _limit_s(watchdog_s: int) -> int:
    """The time in which `STARTS` are too many: short enough that the watchdog's own stay below that."""
    return min(STARTS_S, (STARTS - 2) * (watchdog_s + RESTART_S))


def _start(service: Service) -> Iterator[str]:
    # In a command a dollar begins a variable.
    words = " ".join(_quote(word).replace("$", "$$") for word in service.program)
    yield "[Service]"
    yield "# It says itself when it is ready, and feeds the watchdog only when a frame went through the model."
    yield "Type=notify"
    yield "NotifyAccess=main"
    yield "# The configuration may hold passwords: root owns it, and the run is handed a copy."
    yield f"LoadCredential=config:{service.config}"
    if service.needs.token:
        yield f"LoadCredential=kiosk-token:{service.config.with_suffix('.token')}"
    yield f"ExecStart={words} run --config ${{CREDENTIALS_DIRECTORY}}/config"
    yield "# SIGHUP loads bundle and gallery again."
    yield "ExecReload=/bin/kill -HUP $MAINPID"
    yield f"WatchdogSec={service.watchdog_s}"
    yield "# Not SIGABRT: what can still end ends whole, and no picture is left in a core dump."
    yield "WatchdogSignal=SIGTERM"
    yield "LimitCORE=0"
    yield "Restart=on-failure"
    yield f"RestartSec={RESTART_S}"
    yield "TimeoutStartSec=120"
    yield "TimeoutStopSec=10"
    yield "KillMode=mixed"
    yield "Environment=PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1"
    yield ""


def _identity(service: Service) -> Iterator[str]:
    if service.user is None:
        yield "DynamicUser=yes"
    else:
        yield f"User={service.user}"
    yield f"StateDirectory={service.name}"
    yield f"WorkingDirectory={service.state}"
    if service.needs.camera or service.needs.any_device:
        yield "SupplementaryGroups=video"
    yield "UMask=0077"
    yield ""


def _files(service: Service) -> Iterator[str]:
    yield "# The whole system is read-only but for what the run writes."
    yield "ProtectSystem=strict"
    hidden = not any(_under(path, _HOMES) for path in _touched(service))
    yield f"ProtectHome={'yes' if hidden else 'read-only'}"
    yield "PrivateTmp=yes"
    outside = [path for path in service.needs.writes if not path.is_relative_to(service.state)]
    for path in dict.fromkeys(_writable(path) for path in outside):
        yield f"ReadWritePaths={_quote(str(path))}"
    yield ""


def _rights(service: Service) -> Iterator[str]:
    needs = service.needs
    yield "NoNewPrivileges=yes"
    yield "CapabilityBoundingSet="
    yield "AmbientCapabilities="
    yield "RestrictSUIDSGID=yes"
    yield "RestrictRealtime=yes"
    yield "RestrictNamespaces=yes"
    yield "LockPersonality=yes"
    yield "ProtectKernelTunables=yes"
    yield "ProtectKernelModules=yes"
    yield "ProtectKernelLogs=yes"
    yield "ProtectControlGroups=yes"
    yield "ProtectHostname=yes"
    yield "ProtectProc=invisible"
    yield "RemoveIPC=yes"
    yield "KeyringMode=private"
    yield "SystemCallArchitectures=native"
    yield "SystemCallFilter=@system-service"
    yield "SystemCallErrorNumber=EPERM"
    yield from _devices(needs)
    yield from _network(needs)
    yield ""
    yield "[Install]"
    yield "WantedBy=multi-user.target"


def _devices(needs: Needs) -> Iterator[str]:
    if needs.any_device:
        # ProtectClock would list the clock as the one device allowed and so forbid the others.
        yield "# Its devices cannot be listed beforehand."
        return
    yield "ProtectClock=yes"
    if not needs.camera:
        yield "PrivateDevices=yes"
        return
    yield "DevicePolicy=closed"
    yield "DeviceAllow=char-video4linux rw"


def _network(needs: Needs) -> Iterator[str]:
    if needs.network or needs.runs_commands:
        yield "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"
    elif needs.loopback:
        yield "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"
        yield "# Only this machine is spoken with."
        yield "IPAddressDeny=any"
        yield "IPAddressAllow=localhost"
    else:
        yield "# It speaks with nobody."
        yield "RestrictAddressFamilies=AF_UNIX"
        yield "PrivateNetwork=yes"


def _touched(service: Service) -> Iterator[Path]:
    yield from service.needs.reads
    yield from service.needs.writes
    yield Path(sys.prefix)
    yield Path(sys.base_prefix)
    yield Path(__file__).resolve()


def _writable(path: Path) -> Path:
    """The folder that must be writable: a gallery is one, a file needs its folder for what lies beside it."""
    return path if path.is_dir() or not path.suffix else path.parent


def _under(path: Path, roots: Sequence[str]) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _quote(word: str) -> str:
    """Quote a path for a unit: % begins a specifier there."""
    escaped = word.replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    return escaped if shlex.quote(word) == word else f'"{escaped}"'


def unreachable(paths: Sequence[Path]) -> Path | None:
    """Find a path that a user of the service's own could not read, or give None."""
    for path in paths:
        for part in (path, *path.parents):
            needed = 0o005 if part.is_dir() else 0o004
            if part.exists() and os.stat(part).st_mode & needed != needed:  # noqa: PTH116
                return part
    return None


def hidden_by_private_tmp(paths: Sequence[Path]) -> Path | None:
    """Find a path that the service would not see because it has a /tmp of its own, or give None."""
    return next((path for path in paths if _under(path, _TEMPORARY)), None)
