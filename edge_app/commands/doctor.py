"""`sightline doctor`: what this device has and lacks."""

import click


@click.command()
@click.option("--bundle", type=click.Path(), metavar="BUNDLE", help="Check this bundle as well.")
@click.option("--gallery", type=click.Path(), metavar="GALLERY", help="Check this gallery as well.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(bundle: str | None, gallery: str | None, as_json: bool) -> int:
    """Look at this device and say what it has, what it lacks and what to do.

    Exit code 1 where something is broken that a run needs.

    \b
    Example:
      sightline doctor
      sightline doctor --bundle kiosk.bundle --gallery shop.gallery --json
    """
    from ..console import print_json
    from ..doctor.examination import examine
    from ..doctor.finding import Level

    findings = []
    for finding in examine(bundle, gallery):
        findings.append(finding)
        if not as_json:
            _show(str(finding.level), finding.name, finding.detail, finding.remedy)
    broken = sum(finding.level is Level.FAIL for finding in findings)
    if as_json:
        print_json({"healthy": not broken, "findings": findings})
    return 1 if broken else 0


def _show(level: str, name: str, detail: str, remedy: str) -> None:
    colour = {"ok": "green", "note": "cyan", "warn": "yellow", "fail": "red"}[level]
    click.echo(f"{click.style(f'{level:<4}', fg=colour, bold=True)}  {name:<17} {detail}")
    if remedy:
        click.echo(f"{'':<24}→ {remedy}")
