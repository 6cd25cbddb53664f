"""`python -m sightline.edge_app` and the `sightline` command."""

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from .cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
