"""`sightline verify`: is this bundle whole, and does this machine give its answers?"""

import click

from sightline.runtime import Bundle
from sightline.runtime.errors import BundleError
from sightline.runtime.proof import check_answers

from ..console import print_json
from ..options import device_options


@click.command()
@click.argument("bundle")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@device_options
def command(bundle: str, as_json: bool, provider: str, variant: str, threads: int | None) -> None:
    """Check every byte of BUNDLE, then its golden answers on this machine.

    \b
    Example:
      sightline verify kiosk.bundle
    """
    loaded = Bundle.load(bundle)
    names = [one.name for one in loaded.manifest.variants] if variant == "auto" else [variant]
    results = {name: check_answers(loaded, provider, name, threads) for name in names}
    failures = [f"{name}: {failure}" for name, result in results.items() for failure in result.failures]
    if as_json:
        print_json({"bundle_id": loaded.bundle_id, "files": len(loaded.manifest.files), "golden": results})
    else:
        click.echo(
            f"{bundle}: {len(loaded.manifest.files)} files as exported (SHA-256), bundle {loaded.bundle_id[:12]}"
        )
        for name, result in results.items():
            right = result.images - len(result.failures)
            click.echo(f"{name}: {right} of {result.images} golden images give export's answers")
    if failures:
        raise BundleError(f"bundle '{bundle}' answers otherwise on this machine: {'; '.join(failures)}")
