from pathlib import Path

from sightline.edge_app.reference import reference

REFERENCE = Path(__file__).parents[2] / "docs" / "commands.md"


def test_the_command_reference_is_what_help_says() -> None:
    assert REFERENCE.read_text() == reference(), "run `make docs`"
