"""`sightline events`: read the event log that `run --events` wrote."""

import re
import time

import click

_AGES = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


class Age(click.ParamType):  # type: ignore[type-arg]  # not to be subscripted before click 8.2
    """A length of time, written as 30m, 12h or 7d."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it as seconds."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", str(value))
        if found is None:
            self.fail(f"'{value}' is no length of time: expected one as 30m, 12h or 7d", param, ctx)
        return float(found[1]) * _AGES[found[2]]


@click.command()
@click.argument("log", type=click.Path())
@click.option("--since", type=Age(), metavar="AGE", help="Only the last 30m, 12h, 7d ...")
@click.option("--event", "name", metavar="NAME", help="Only decision, state, taught, removed, error, started or ended.")
@click.option("--label", metavar="LABEL", help="Only what is about this item.")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only the newest N.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(
    log: str, since: float | None, name: str | None, label: str | None, last: int | None, as_json: bool
) -> None:
    """Show what LOG holds, oldest first; a run may be writing it meanwhile.

    \b
    Example:
      sightline events kiosk.db --since 12h --event decision
      sightline events kiosk.db --last 1000 --json > events.jsonl
    """
    from pathlib import Path

    from ..outputs.eventlog import Wanted, read_events

    wanted = Wanted(time.time() - since if since is not None else None, name, label, last or 0)
    for line in read_events(Path(log), wanted):
        click.echo(line if as_json else _sentence(line))


def _sentence(line: str) -> str:
    import msgspec

    event = msgspec.json.decode(line)
    when = f"{event['time']}  {event['event']:<9}"
    if event["event"] == "decision":
        return f"{when} {event['label'] or 'unknown'}  ({event['confidence']:.2f}, {event['decided_by'] or 'nobody'})"
    if event["event"] == "state":
        return f"{when} {event['state']}{': ' if event['detail'] else ''}{event['detail']}"
    known = (event.get(key) for key in ("label", "message", "reason", "bundle_id"))
    return f"{when} {next((str(value) for value in known if value), '')}".rstrip()
