"""`sightline service`: a run as a system service."""

import click

_NAME = click.option("--name", default="sightline", show_default=True, help="The service's name.")
_ROOT = click.option("--root", default="/", type=click.Path(), help="Prepare the system below this folder instead.")
_WORDS = {"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]}


@click.group()
def command() -> None:
    """Install a run as a system service.

    \b
    Example:
      sudo sightline service install /opt/kiosk.bundle --source 0 --gallery /var/lib/sightline/shop.gallery
      sightline service show
    """


@command.command("install", context_settings=_WORDS)
@_NAME
@_ROOT
@click.option("--user", metavar="NAME", help="Run as this user [default: one that systemd makes].")
@click.option("--watchdog", "watchdog_s", type=click.IntRange(10, 86_400), default=60, show_default=True, metavar="S")
@click.option("--no-start", is_flag=True, help="Only write the files.")
@click.option("--print", "only_print", is_flag=True, help="Show both files and write nothing.")
@click.argument("words", nargs=-1, required=True, metavar="RUN_OPTIONS...", type=click.UNPROCESSED)
def install_command(
    name: str,
    root: str,
    user: str | None,
    watchdog_s: int,
    no_start: bool,
    only_print: bool,
    words: tuple[str, ...],
) -> int:
    """Write a systemd unit and a configuration file, and start the service.

    RUN_OPTIONS are those of 'sightline run', or --config FILE with them. The service may write its gallery and
    outputs and nothing else; it is started again when no frame went through the model for --watchdog seconds.

    \b
    Example:
      sudo sightline service install /opt/kiosk.bundle --source 0 --gallery /var/lib/sightline/shop.gallery
      sightline service install /opt/kiosk.bundle --source 0 --print
    """
    from pathlib import Path

    from ..console import ConsoleReporter
    from ..service import installer
    from ..service.config import render_config
    from ..service.plan import plan_service
    from ..service.unit import render_unit
    from .run import command as run

    reporter = ConsoleReporter()
    places = installer.Places(name, Path(root))
    plan = plan_service(run, words, places, user, watchdog_s)
    unit, config = render_unit(plan.service), render_config(run, plan.given)
    if only_print:
        click.echo(f"# {places.unit}\n{unit}\n# {places.config}\n{config}")
        return 0
    token = installer.install(places, unit, config, plan.service.needs.token)
    reporter.say(f"wrote {places.unit} and {places.config}")
    if token is not None:
        reporter.say(f"the token of its kiosk page: {token} (kept in {places.token})")
    if no_start or not places.live:
        reporter.say(f"start it with: systemctl daemon-reload && systemctl enable --now {name}")
        return 0
    installer.systemctl("daemon-reload")
    installer.systemctl("enable", f"{name}.service")
    installer.systemctl("restart", f"{name}.service")
    reporter.say(f"{name} runs; its log: journalctl -u {name} -f")
    return 0


@command.command("show")
@_NAME
@_ROOT
def show_command(name: str, root: str) -> int:
    """Show the unit of a service, where its configuration is, and how it fares.

    \b
    Example:
      sightline service show
    """
    from pathlib import Path

    from sightline.runtime import InputError

    from ..service import installer

    places = installer.Places(name, Path(root))
    if not installer.installed(places):
        raise InputError(f"there is no service '{name}': 'sightline service install' makes one")
    click.echo(f"# {places.unit}\n{places.unit.read_text(encoding='utf-8')}\n# configuration: {places.config}")
    if places.live:
        click.echo(installer.systemctl("status", "--no-pager", "--lines=10", f"{name}.service"))
    return 0


@command.command("remove")
@_NAME
@_ROOT
@click.option("--keep-config", is_flag=True, help="Leave the configuration file.")
def remove_command(name: str, root: str, keep_config: bool) -> int:
    """Stop a service and delete its unit, configuration and token; gallery and outputs stay.

    \b
    Example:
      sudo sightline service remove
    """
    from pathlib import Path

    from ..console import ConsoleReporter
    from ..service import installer

    places = installer.Places(name, Path(root))
    if places.live and installer.installed(places):
        installer.systemctl("disable", "--now", f"{name}.service")
    for file in installer.remove(places, keep_config):
        ConsoleReporter().say(f"deleted {file}")
    if places.live:
        installer.systemctl("daemon-reload")
    return 0
