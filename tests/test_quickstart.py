"""Belongs to examples/quickstart.ipynb: its cells run in order, and each ends with what it should show."""

import ast
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

NOTEBOOK = json.loads((Path(__file__).parents[1] / 'examples/quickstart.ipynb').read_text())
CELLS = [''.join(cell['source']) for cell in NOTEBOOK['cells'] if cell['cell_type'] == 'code']


def run_cell(text: str, names: dict):
    """Run a cell as a notebook does: the value of a last line that is an expression is what it shows."""
    *body, last = ast.parse(text).body
    if not isinstance(last, ast.Expr):
        body, last = [*body, last], None
    exec(compile(ast.Module(body, []), 'quickstart.ipynb', 'exec'), names)
    return last and eval(compile(ast.Expression(last.value), 'quickstart.ipynb', 'eval'), names)


def run_notebook(sizes: str) -> list:
    names: dict = {}
    return [run_cell(cell.replace('TRAIN, VAL, EPOCHS = 2000, 200, 5', sizes), names) for cell in CELLS]


def check(shown: list) -> None:
    image, scores, shape, nearest, attention, drawn, levels, architecture = shown
    assert all(isinstance(each, Image.Image) for each in (image, nearest, attention, drawn))
    assert {'loss', 'recon_l1', 'weight_recon'} <= set(scores)
    assert shape[1] == 128 and levels == [(128, 6, 6)] * 4
    assert architecture['num_layers'] == 4


def test_cells_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check(run_notebook('TRAIN, VAL, EPOCHS = 128, 16, 1'))


@pytest.mark.slow
def test_cells_run_at_full_length(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    check(run_notebook('TRAIN, VAL, EPOCHS = 2000, 200, 5'))


def test_notebook_holds_no_outputs():
    assert all(not cell.get('outputs') for cell in NOTEBOOK['cells'])
