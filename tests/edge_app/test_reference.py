import subprocess
import sys
from pathlib import Path

REFERENCE = Path(__file__).parents[2] / "docs" / "commands.md"


def test_the_command_reference_is_what_help_says() -> None:
    # In a process of its own: click remembers the help option of the first context a command was used in.
    made = subprocess.run([sys.executable, "-m", "sightline.edge_app.reference"], capture_output=True, text=True)
    assert REFERENCE.read_text() == made.stdout, "run `make docs`"
