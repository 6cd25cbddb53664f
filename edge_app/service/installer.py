"""Puts the unit and the configuration of a service where systemd finds them, and takes them away again."""

import os
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sightline.runtime.durable import write_file
from sightline.runtime.errors import InputError

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
# Longer than a start may take, as `TimeoutStartSec` of the unit says.
_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of a service lie.

    Attributes:
        name: Of the service.
        root: The system's root; another folder prepares an image of a system.
    """

    name: str
    root: Path = Path("/")

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise InputError(f"--name '{self.name}' is no service's name: expected small letters, digits, - and _")

    @property
    def unit(self) -> Path:
        """The unit's file."""
        return self.root / "etc/systemd/system" / f"{self.name}.service"

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.root / "etc/sightline" / f"{self.name}.toml"

    @property
    def token(self) -> Path:
        """The file with the token of the kiosk page, where other machines can reach it."""
        return self.config.with_suffix(".token")

    @property
    def live(self) -> bool:
        """Whether systemd runs this very system."""
        return self.root == Path("/") and Path("/run/systemd/system").is_dir()


def install(places: Places, unit: str, config: str, needs_token: bool = False) -> str | None:
    """Write the files, each whole or not at all; configuration and token can be read by root only.

    Returns:
        The token of the kiosk page where one was made; an earlier one stays.

    Raises:
        InputError: They cannot be written.
    """
    try:
        for file in (places.config, places.unit):
            file.parent.mkdir(parents=True, exist_ok=True)
        write_file(places.config, config.encode(), 0o600)
        token = secrets.token_urlsafe(24) if needs_token and not places.token.exists() else None
        if token is not None:
            write_file(places.token, token.encode(), 0o600)
        write_file(places.unit, unit.encode())
    except PermissionError as error:
        raise InputError(f"'{error.filename}' cannot be written: run it with sudo") from error
    return token


def installed(places: Places) -> bool:
    """Whether the unit is there."""
    return places.unit.is_file()


def remove(places: Places, keep_config: bool) -> list[Path]:
    """Delete the unit, the configuration and the token; what the run wrote stays.

    Returns:
        What was deleted.

    Raises:
        InputError: There is no such service, or it may not be deleted.
    """
    if not installed(places):
        raise InputError(f"there is no service '{places.name}': '{places.unit}' does not exist")
    every = [places.unit] if keep_config else [places.unit, places.config, places.token]
    doomed = [file for file in every if file.exists()]
    try:
        for file in doomed:
            file.unlink()
    except PermissionError as error:
        raise InputError(f"'{error.filename}' cannot be deleted: run it with sudo") from error
    return doomed


def systemctl(*words: str) -> str:
    """Run systemctl and give what it says.

    Raises:
        InputError: It fails, or does not end.
    """
    program = shutil.which("systemctl")
    if program is None:
        raise InputError("systemctl is not there: this system is not run by systemd")
    environment = {**os.environ, "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
    try:
        done = subprocess.run([program, *words], capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"systemctl {' '.join(words)} has not ended after {_TIMEOUT_S:.0f} s") from error
    # `status` answers 3 for a service that does not run: that is an answer.
    if done.returncode not in (0, 3):
        raise InputError(f"systemctl {' '.join(words)} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
