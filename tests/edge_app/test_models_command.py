"""`sightline models`: the table without torch, and that it is true."""

import json
import subprocess
import sys

import pytest

from sightline.edge_app.cli import run
from sightline.edge_app.networks import list_networks


def test_the_table_names_every_network_with_its_size(capsys):
    assert run(["models"]) == 0
    shown = capsys.readouterr().out
    assert "timm:NAME" in shown
    for one in list_networks():
        assert one.name in shown


def test_json_holds_the_command_and_the_day_of_each_figure(capsys):
    assert run(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0].keys() == {"name", "image_size", "parameters", "macs", "imagenet", "measured"}
    for figure in (figure for row in rows for figure in row["measured"]):
        assert figure["command"].startswith("sightline ") and len(figure["date"]) == 10


def test_no_torch_is_needed():
    code = "import sys; sys.modules['torch'] = None; from sightline.edge_app.cli import run; sys.exit(run(['models']))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0


def test_the_table_is_that_of_the_registry():
    models = pytest.importorskip("sightline.models")
    table = {one.name: one for one in list_networks()}
    assert list(table) == list(models.ARCHITECTURES)
    for name, architecture in models.ARCHITECTURES.items():
        size = models.measure_size(architecture)
        one = table[name]
        assert (one.parameters, one.macs) == (size.parameters, size.macs), "run python benchmarks/networks.py"
        assert one.image_size == architecture.image_size and one.imagenet == (architecture.weights is not None)
