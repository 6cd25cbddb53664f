"""`python -m sightline.edge_app` and the `sightline` command."""

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        from .cli import run

        code = run()
    except KeyboardInterrupt:  # while the first modules are imported, before there is a command to end
        print("sightline: stopped", file=sys.stderr)
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
