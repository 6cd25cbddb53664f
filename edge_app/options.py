"""Options that several commands share."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def gather(
    name: str, kind: Callable[..., Any], options: Sequence[Callable[[Any], Any]]
) -> Callable[[Command], Command]:
    """Make a decorator that adds options and hands a command what the user gave them as one dataclass.

    Args:
        name: The command's argument that gets it.
        kind: The dataclass: a field an option.
        options: Click's, in the order of the help.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gathered(**given: Any) -> Any:
            words = kind(**{one.name: given.pop(one.name) for one in fields(kind)})  # type: ignore[arg-type]
            return command(**{name: words}, **given)

        decorated: Any = gathered
        for option in reversed(options):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


def device_options(command: Command) -> Command:
    """Add --provider, --variant and --threads: what runs the model."""
    for option in (
        click.option("--threads", type=click.IntRange(1, 256), help="Threads within an operator [default: the cores]."),
        click.option("--variant", default="auto", show_default=True, help="Model variant, e.g. int8 or fp32."),
        click.option("--provider", default="auto", show_default=True, help="ONNX Runtime provider, e.g. cpu or cuda."),
    ):
        command = option(command)
    return command


where_option = click.option(
    "--where", "pairs", multiple=True, metavar="KEY=VALUE", help="Only entries with this metadata; repeat it."
)


def metadata_of(pairs: tuple[str, ...], option: str = "--where") -> dict[str, str]:
    """Read KEY=VALUE pairs."""
    metadata = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"expected KEY=VALUE, not {pair!r}", param_hint=option)
        metadata[key] = value
    return metadata
