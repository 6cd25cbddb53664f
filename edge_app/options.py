"""Options that several commands share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


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
