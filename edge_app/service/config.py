"""The configuration file of `sightline run`: TOML, one key an option, checked before anything starts.

The keys are made from the options themselves, so that every option has one and none can be forgotten. A key
that is none is an error that names the nearest one.
"""

import json
import os
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import click
import msgspec

from sightline.runtime.errors import InputError

MAX_BYTES = 1_000_000
_NO_KEYS = frozenset({"config", "help"})


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config: its values stand where an option is not given."""
    text = "Take options from a TOML file; those given here win."
    option = click.option(
        "--config", is_eager=True, expose_value=False, callback=_apply, type=click.Path(), metavar="FILE", help=text
    )
    return option(command)


def _apply(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.default_map = {**(ctx.default_map or {}), **read_config(Path(value), ctx.command)}


def read_config(path: Path, command: click.Command) -> dict[str, Any]:
    """Read a configuration file.

    Args:
        path: The file.
        command: Whose options its keys are.

    Returns:
        The values by the names of the command's parameters.

    Raises:
        InputError: It cannot be read, is no TOML, names no option of the command, or holds a wrong value.
    """
    values = _decode(path)
    known = keys_of(command)
    for key in values:
        if key not in known:
            raise InputError(f"config '{path}': '{key}' is no option of run{_nearest(key, known)}")
    fields = [(param.name, _type_of(param), msgspec.UNSET) for param in known.values()]
    renamed = {param.name: key for key, param in known.items()}
    checked = msgspec.defstruct("Config", fields, rename=renamed, forbid_unknown_fields=True, kw_only=True)
    try:
        config = msgspec.convert(values, checked)
    except msgspec.ValidationError as error:
        raise InputError(f"config '{path}': {_explain(str(error))}") from error
    given = {str(param.name): _as_given(param, getattr(config, str(param.name))) for param in known.values()}
    return {name: value for name, value in given.items() if value is not msgspec.UNSET}


def keys_of(command: click.Command) -> dict[str, click.Parameter]:
    """The keys a configuration may hold, in the order of the command's help."""
    keys = {}
    for param in command.params:
        key = max(param.opts, key=len).lstrip("-") if isinstance(param, click.Option) else str(param.name)
        if key not in _NO_KEYS:
            keys[key] = param
    return keys


def render_config(command: click.Command, given: Mapping[str, Any]) -> str:
    """Write a configuration file: the given options, and every other one as a comment with its default.

    Args:
        command: Whose options.
        given: Values by the names of the command's parameters.
    """
    lines = ["# Options of 'sightline run'; 'sightline run --help' explains them all.", ""]
    for key, param in keys_of(command).items():
        help = getattr(param, "help", None) or f"The {key} to run."
        lines.append(f"# {help}")
        if given.get(str(param.name)) is not None:
            lines.append(f"{key} = {_toml(given[str(param.name)])}")
        else:
            lines.append(f"# {key} = {_toml(_example(param))}")
        lines.append("")
    return "\n".join(lines)


def absolute_paths(command: click.Command, given: Mapping[str, Any]) -> dict[str, Any]:
    """Make every path among the values absolute: a service starts in another folder."""
    return {name: _absolute(param, given[name]) for param in command.params if (name := str(param.name)) in given}


def paths_of(command: click.Command, given: Mapping[str, Any]) -> dict[str, Path]:
    """The paths among the values, by the names of the command's parameters."""
    return {
        name: Path(given[name])
        for param in command.params
        if (name := str(param.name)) in given and isinstance(param.type, click.Path) and given[name] not in (None, "-")
    }


def _absolute(param: click.Parameter, value: Any) -> Any:
    if not isinstance(value, str) or value == "-":
        return value
    names_file = isinstance(param.type, click.Path)
    # A source may be a file as well as a camera's number or an address.
    if param.name == "source":
        names_file = not value.isdecimal() and "://" not in value
    return os.path.abspath(Path(value).expanduser()) if names_file else value  # noqa: PTH100  (keeps links)


def _decode(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"config '{path}' cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"config '{path}' is larger than {MAX_BYTES} bytes: expected a small TOML file")
    try:
        return msgspec.toml.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"config '{path}' is no TOML: {error}") from error


def _type_of(param: click.Parameter) -> Any:
    kind = param.type
    plain: Any = str | int
    if isinstance(kind, click.IntRange):
        plain = Annotated[int, msgspec.Meta(ge=_whole(kind.min), le=_whole(kind.max))]
    elif isinstance(kind, click.FloatRange | click.types.FloatParamType):
        plain = float
    elif isinstance(kind, click.types.BoolParamType):
        plain = bool
    if isinstance(param, click.Option) and not param.is_flag and isinstance(param.flag_value, str):
        plain = str | int | bool
    many = getattr(param, "multiple", False)
    return list[plain] | msgspec.UnsetType if many else plain | msgspec.UnsetType


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)


def _as_given(param: click.Parameter, value: Any) -> Any:
    """Bring a value to what the command line would have given: words, but for numbers and switches."""
    if isinstance(value, list):
        return tuple(str(one) for one in value)
    if isinstance(value, bool) and isinstance(param, click.Option) and not param.is_flag:
        # Such an option has a value of its own for when none is named.
        return param.flag_value if value else msgspec.UNSET
    is_word = not isinstance(param.type, click.IntRange | click.FloatRange | click.types.FloatParamType)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and is_word else value


def _nearest(key: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(key.replace("_", "-"), known, n=1, cutoff=0.5)
    return f": did you mean '{near[0]}'?" if near else ": 'sightline run --help' names them"


def _explain(message: str) -> str:
    what, _, where = message.partition(" - at ")
    words = what.replace("`", "").replace(" | ", " or ").replace("Expected", "expected")
    return f"{where.strip('`').removeprefix('$.')}: {words}"


def _example(param: click.Parameter) -> Any:
    default = param.to_info_dict().get("default")
    if isinstance(default, bool | int | float | str):
        return default
    if getattr(param, "multiple", False):
        return []
    return 1 if isinstance(param.type, click.IntRange | click.FloatRange) else ""


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value) if isinstance(value, int | float) else json.dumps(str(value), ensure_ascii=False)
