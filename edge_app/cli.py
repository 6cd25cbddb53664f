"""The command line: one lazy group over `commands/`, and one place where failures become sentences.

Exit codes: 0 done; 1 the input was wrong or a gate failed (one sentence on stderr); 2 wrong usage;
130 stopped by Ctrl-C. Results go to stdout, talk and progress to stderr.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from sightline.runtime.errors import SightlineError

# Name, module below `commands`, what `sightline --help` says: listed here so that help imports nothing.
COMMANDS = {
    "demo": "The whole path on data that it draws itself, no network, in about two minutes.",
    "models": "List the networks that can be trained, and what was measured of them.",
    "data": "Look labelled photos over before anything is trained.",
    "pretrain": "Learn from photos without labels, for a start of training.",
    "train": "Train a model on labelled photos.",
    "export": "Quantize, prove and pack a model as a bundle for devices.",
    "eval": "Measure a bundle on labelled photos.",
    "predict": "Recognise images.",
    "explain": "Show what the answer to a photo rests on.",
    "gallery": "Build, search and keep a gallery of known items.",
    "run": "Recognise what a camera or video shows, live.",
    "replay": "Answer the frames that a run kept once more, and name the first difference.",
    "service": "Install a run as a system service.",
    "events": "Show what the event log of a run holds.",
    "doctor": "Say what this device has and lacks, and what to do.",
    "tune": "Choose what runs a bundle fastest on this machine.",
    "inspect": "Show what a bundle holds and what was measured of it.",
    "bench": "Time a bundle's variants side by side, and beside other runtimes.",
    "verify": "Check every byte and the golden answers of a bundle on this machine.",
}
_EXTRA_HINT = "this command needs the workstation's packages: pip install 'sightline[export]'"


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of the path."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"sightline.edge_app.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their one line, importing none."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="sightline", prog_name="sightline")
def cli() -> None:
    """From a folder of labelled photos to an offline device that recognises, looks up and learns.

    \b
    Example:
      sightline train photos/ --out run
      sightline export run --out kiosk.bundle
      sightline predict kiosk.bundle photo.jpg
      sightline run kiosk.bundle --source 0 --gallery shop.gallery
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name; None takes `sys.argv`.

    Returns:
        The exit code.
    """
    try:
        code = cli.main(arguments, prog_name="sightline", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SightlineError as error:
        return _fail(str(error), 1)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _fail("stopped", 130)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA_MODULES:
            raise
        return _fail(f"{_EXTRA_HINT} ({error.name} is missing)", 1)
    except BrokenPipeError:
        # The reader of our output went away (`| head`); nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(f"{error.strerror or error}{f': {error.filename!r}' if error.filename else ''}", 1)


_EXTRA_MODULES = frozenset(
    {"torch", "torchvision", "onnx", "onnxscript", "sklearn", "matplotlib", "jinja2", "pytorch_metric_learning"}
)


def _fail(sentence: str, code: int) -> int:
    click.echo(f"sightline: {sentence}", err=True)
    return code
