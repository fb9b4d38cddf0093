"""Which errors end a command with one line, and which keep their traceback."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures.data import make_image_folder
from torch.utils.data import DataLoader

from repre_mm.checkpoint import CheckpointError
from repre_mm.cli.errors import one_line_errors
from repre_mm.datasets import DatasetError, ImageReadError
from repre_mm.engine import NonFiniteError
from repre_mm.engine.checks import ConfigError
from repre_mm.evaluation import EvaluationError

ROOT = Path(__file__).parents[2]
TINY = ROOT / 'tests/fixtures/tiny_config.py'


@pytest.mark.parametrize('kind', [CheckpointError, ConfigError, DatasetError, EvaluationError, NonFiniteError])
def test_an_error_for_the_user_is_one_line(kind):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise kind('a.pth is broken: copy it again')
    assert stop.value.code == 'error: a.pth is broken: copy it again'


class Broken:
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise self.error


@pytest.mark.parametrize(
    ('error', 'message'),
    [
        (ImageReadError('a.jpg', 'truncated'), 'error: cannot read image a.jpg: truncated'),
        (DatasetError('too many bad files'), 'error: too many bad files'),
    ],
)
def test_the_traceback_of_a_loading_process_is_left_out(error, message):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        next(iter(DataLoader(Broken(error), num_workers=1)))
    assert stop.value.code == message


@pytest.mark.parametrize('error', [ValueError('x'), KeyError('x'), FileNotFoundError('x'), RuntimeError('x')])
def test_any_other_error_keeps_its_traceback(error, capsys):
    with pytest.raises(type(error)) as raised, one_line_errors('building the model'):
        raise error
    assert raised.value is error
    assert capsys.readouterr().err == 'error: building the model failed, with an error that has no short message:\n'


def test_the_traceback_on_request(monkeypatch):
    with pytest.raises(DatasetError), one_line_errors(traceback=True):
        raise DatasetError('x')
    monkeypatch.setenv('REPRE_TRACEBACK', '1')
    with pytest.raises(DatasetError), one_line_errors():
        raise DatasetError('x')


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_option_of_the_commands(tool, monkeypatch):
    command = [tool, 'no_config.py', *(['a.pth'] if tool == 'test.py' else [])]
    monkeypatch.setattr(sys, 'argv', command)
    with pytest.raises(SystemExit, match=r'error: there is no config no_config\.py'):
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
    monkeypatch.setattr(sys, 'argv', [*command, '--traceback'])
    with pytest.raises(ValueError, match=r'there is no config no_config\.py'):
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')


def test_an_error_of_torch_while_the_runner_is_built_is_not_hidden(tmp_path):
    """What the checks cannot know: a library refuses what a constructor gives it."""
    (tmp_path / 'sick.py').write_text(
        'import torch\n'
        'from mmengine.registry import HOOKS\n'
        'from mmengine.hooks import Hook\n'
        '@HOOKS.register_module()\n'
        'class SickHook(Hook):\n'
        '    def __init__(self):\n'
        '        torch.optim.AdamW([torch.ones(1)], lr=-1.0)\n'
    )
    (tmp_path / 'config.py').write_text(
        f"_base_ = {str(TINY)!r}\ncustom_imports = dict(imports=['sick'])\ncustom_hooks = [dict(type='SickHook')]\n"
    )
    images = make_image_folder(tmp_path / 'images')
    command = [sys.executable, str(ROOT / 'tools/train.py'), 'config.py', '--data', str(images)]
    environ = {**os.environ, 'PYTHONPATH': f'{ROOT}:{tmp_path}'}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert 'error: the set-up failed' in done.stderr
    assert 'in __init__\n    torch.optim.AdamW([torch.ones(1)], lr=-1.0)' in done.stderr
