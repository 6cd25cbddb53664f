"""Writes the command reference from `--help`: `python -m sightline.edge_app.reference > docs/commands.md`."""

from collections.abc import Iterator

import click

from .cli import cli

_INTRODUCTION = """# Commands

Made from `--help` by `make docs`. Results go to stdout, talk and progress to stderr. Exit code 0: done;
1: the input was wrong or a gate failed, in one sentence; 2: wrong usage; 130: stopped by Ctrl-C.
"""

_HELP = ["-h", "--help"]


def reference() -> str:
    """Give the whole reference as Markdown."""
    return "\n".join([_INTRODUCTION, *_sections(cli, "sightline")])


def _sections(group: click.Group, path: str) -> Iterator[str]:
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _sections(command, f"{path} {name}")
        elif command is not None:
            own = click.Context(command, info_name=f"{path} {name}", terminal_width=100, help_option_names=_HELP)
            page = command.get_help(own)
            yield f"## {path} {name}\n\n```\n{page}\n```\n"


if __name__ == "__main__":
    click.echo(reference(), nl=False)
