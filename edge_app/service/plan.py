"""From the options of a run to the service that runs it, refusing what cannot work as one."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sightline.runtime.errors import InputError

from ..outputs.hook import split_command
from .config import absolute_paths
from .installer import Places
from .needs import needs_of
from .unit import Service, hidden_by_private_tmp, unreachable

# A camera that is not there at the start is waited for.
_PATIENCE_S = 86_400.0
_INTERACTIVE = {"lines": "--stdin", "max_frames": "--max-frames", "duration": "--duration"}


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """A service and the options of its run. Not printable: options hold credentials."""

    service: Service
    given: dict[str, Any]


def plan_service(run: click.Command, words: Sequence[str], places: Places, user: str | None, watchdog_s: int) -> Plan:
    """Read the words of `sightline run` and decide how they become a service.

    Raises:
        click.UsageError: They are no words of `run`.
        InputError: They cannot run as a service, and why.
    """
    given = absolute_paths(run, _given(run, words))
    for name, option in _INTERACTIVE.items():
        if given.get(name):
            raise InputError(f"{option} makes no sense in a service: leave it out")
    if given.get("teach_label") and not given.get("kiosk"):
        raise InputError("--teach-label would teach at every start of the service: leave it out")
    if not given.get("kiosk"):
        given["headless"] = True
    given.setdefault("connect_s", _PATIENCE_S)
    if given.get("json"):
        # It is started again now and then, and what it wrote before should not be gone then.
        given["json_append"] = True
    if given.get("on_event"):
        given["on_event"] = tuple(map(_absolute_program, given["on_event"]))
    config = Path("/etc/sightline") / places.config.name
    service = Service(places.name, config, user, needs_of(run, given), watchdog_s)
    _check_paths(service)
    return Plan(service, given)


def _absolute_program(command: str) -> str:
    """A command with the whole path of its program: a service has another folder and another PATH."""
    program, *words = split_command(command)
    return shlex.join([os.path.abspath(program), *words])  # noqa: PTH100  (keeps links)


def _given(run: click.Command, words: Sequence[str]) -> dict[str, Any]:
    with run.make_context("sightline run", list(words)) as context:
        return {
            name: value
            for name, value in context.params.items()
            if context.get_parameter_source(name) not in (ParameterSource.DEFAULT, None)
        }


def _check_paths(service: Service) -> None:
    needs = service.needs
    every = [*needs.reads, *needs.writes]
    hidden = hidden_by_private_tmp(every)
    if hidden is not None:
        raise InputError(f"'{hidden}' lies in a folder for temporary files, and a service has its own: move it")
    for path in needs.reads:
        if not path.exists():
            raise InputError(f"'{path}' does not exist")
    outside = [path for path in needs.writes if not path.is_relative_to(service.state)]
    if service.user is None:
        _check_strange(service, outside)
        return
    for path in outside:
        folder = path.parent if path.suffix else path
        if not folder.is_dir():
            raise InputError(f"the folder '{folder}' does not exist: make it, or use one below '{service.state}'")


def _check_strange(service: Service, outside: Sequence[Path]) -> None:
    """A user that systemd makes owns nothing but the service's own folder."""
    if outside:
        raise InputError(
            f"'{outside[0]}' cannot be written by the user that systemd makes for the service: "
            f"move it to '{service.state}/{outside[0].name}', or give --user NAME"
        )
    closed = unreachable([*service.needs.reads, Path(service.program[0])])
    if closed is not None:
        raise InputError(
            f"'{closed}' cannot be read by the user that systemd makes for the service: "
            f"give --user NAME, or 'chmod o+rX {closed}'"
        )
