"""The command lines of the evaluations: results, and one line where the user is at fault."""

import json
import re
import runpy
import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest
from PIL import Image

TOOLS = Path(__file__).parents[2] / 'tools'


def _run(monkeypatch, tool: str, *arguments) -> None:
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments), '--workers', '0', '--device', 'cpu'])
    runpy.run_path(str(TOOLS / tool), run_name='__main__')


def test_knn_command(monkeypatch, capsys, config, data_root, tmp_path):
    out = tmp_path / 'knn.json'
    # Options may stand between the words that name the encoder.
    _run(monkeypatch, 'knn.py', config, '--data', data_root, 'random', '--k', 1, 5, '--out', out)
    result = json.loads(out.read_text())
    assert result['checkpoint'] == 'random'
    assert result['knn'] == {'protocol': 'knn-v1', 'temperature': 0.07, 'top1': {'1': 100.0, '5': 100.0}}
    assert result['versions']['torch'] == metadata.version('torch')
    assert str(tmp_path) not in out.read_text()
    assert 'k=5  100.00' in capsys.readouterr().out


def test_linear_probe_command(monkeypatch, capsys, config, data_root, tmp_path):
    out = tmp_path / 'linear.json'
    options = ('--data', data_root, '--epochs', 5, '--out', out)
    _run(monkeypatch, 'linear_probe.py', config, 'random', *options)
    result = json.loads(out.read_text())['linear']
    assert result['settings']['epochs'] == 5
    assert f'top1 {result["top1"]:7.2f}' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('config_name', 'data', 'message'),
    [
        ('absent.py', '.', 'error: there is no config'),
        ('tiny.py', 'nowhere', 'error: there is no folder'),
        ('tiny.py', 'unlabelled', 'error: labels=True needs every image in a class folder'),
    ],
)
def test_commands_end_with_one_line(monkeypatch, config, config_name, data, message):
    folder = config.parent / 'unlabelled' / 'train'
    folder.mkdir(parents=True)
    Image.new('RGB', (40, 40)).save(folder / 'a.png')
    with pytest.raises(SystemExit, match=message):
        _run(monkeypatch, 'knn.py', config.with_name(config_name), 'random', '--data', config.parent / data)


def test_damaged_image_found_by_a_loading_process_is_named_in_one_line(monkeypatch, config, data_root, tmp_path):
    root = tmp_path / 'data'
    shutil.copytree(data_root, root)
    damaged = root / 'val/red/1.png'
    damaged.write_bytes(damaged.read_bytes()[:100])
    arguments = ['tool', str(config), 'random', '--data', str(root), '--k', '3', '--workers', '1', '--device', 'cpu']
    monkeypatch.setattr(sys, 'argv', arguments)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(TOOLS / 'knn.py'), run_name='__main__')
    assert re.fullmatch(f'error: cannot read image {damaged}: .+', stop.value.code)


def test_linear_eval_command(monkeypatch, capsys, config, data_root, tmp_path):
    out = tmp_path / 'linear.json'
    options = ['--protocol', 'mocov3', '--data', data_root, '--epochs', 2, '--lrs', 0.1, '--batch-size', 8]
    _run(monkeypatch, 'linear_eval.py', config, 'random', *options, '--out', out)
    result = json.loads(out.read_text())
    assert result['linear']['protocol'] == 'linear-mocov3-v2'
    assert result['linear']['settings']['epochs'] == 2
    printed = capsys.readouterr().out
    assert f'top1 {result["linear"]["top1"]:7.2f}' in printed
    assert 'as the authors report' in printed
    assert str(tmp_path) not in out.read_text()
    assert [path.name for path in tmp_path.iterdir() if 'state' in path.name] == []


def test_commands_take_a_timm_model(monkeypatch, capsys, data_root, tmp_path):
    out = tmp_path / 'knn.json'
    options = ['--data', data_root, '--size', 32, '--k', 3, '--out', out]
    _run(monkeypatch, 'knn.py', 'timm:vit_tiny_patch16_224,depth=1', *options)
    result = json.loads(out.read_text())
    assert (result['config'], result['checkpoint']) == ('timm:vit_tiny_patch16_224,depth=1', 'random')
    assert result['encoder'] == 'random weights' and 'encoder: random weights' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='error: --prefix and --encoder choose from a checkpoint'):
        _run(monkeypatch, 'knn.py', 'timm:vit_tiny_patch16_224', '--data', data_root, '--encoder', 'target')


@pytest.mark.parametrize('tool', ['knn.py', 'linear_probe.py', 'linear_eval.py', 'embed.py', 'visualize.py components'])
def test_commands_take_a_limit_of_pixels_and_a_range(tool, monkeypatch, config, data_root):
    tool, *words = tool.split()
    limits = ['--max-pixels', '10', '--range', '0', '4095']
    arguments = [tool, *words, str(config), 'random', '--data', str(data_root), *limits, '--device', 'cpu']
    monkeypatch.setattr(sys, 'argv', arguments + ['--workers', '0'] * (not words))
    with pytest.raises(SystemExit, match=r'error: .*(more than the limit of 10|images .*could not be read)'):
        runpy.run_path(str(TOOLS / tool), run_name='__main__')
