"""Each notebook runs from top to bottom, and is committed without outputs."""

import json
import pathlib

import matplotlib.pyplot as plt
import pytest


NOTEBOOKS = sorted(pathlib.Path(__file__).parents[2].glob("notebooks/*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def code_cells(path):
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS


@each_notebook
def test_it_is_committed_without_outputs(path):
    assert all(not cell["outputs"] for cell in code_cells(path))


@each_notebook
def test_it_runs(path, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: None)
    namespace = {}
    for cell in code_cells(path):
        exec("".join(cell["source"]), namespace)
    assert plt.get_fignums()
    plt.close("all")
