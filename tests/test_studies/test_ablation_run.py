"""Running an ablation: bad settings are named, a killed run goes on, Tables 4 and 5 at toy size."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from fixtures.data import make_image_folder
from mmengine.config import Config

from repre_mm.studies.ablation import Base, Cell, Settings, cells_of
from repre_mm.studies.ablation_run import _scores, prepare

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/ablation.py'
TINY = ROOT / 'tests/fixtures/tiny_config.py'
ENVIRONMENT = {**os.environ, 'OMP_NUM_THREADS': '1'}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'epochs': 0}, '--epochs 0 must be positive'),
        ({'gpus': 0}, '--gpus 0 must be positive'),
        ({'k': 9}, '--k 9 must be between 1 and the 8 training images'),
    ],
)
def test_unusable_settings_are_named_before_any_training(tmp_path, options, message):
    data = str(make_image_folder(tmp_path / 'images'))
    settings = Settings(**{'size': 'toy', 'data': data, 'train_images': 0, 'config': str(TINY), 'k': 3, **options})
    cells = cells_of(settings, ['features'], [0], [], [])
    with pytest.raises(ValueError, match=message):
        prepare(settings, cells, tmp_path, ROOT / 'configs')
    with pytest.raises(ValueError, match='nothing to train'):
        prepare(settings, [], tmp_path, ROOT / 'configs')


def test_linear_evaluation_counts_with_its_best_epoch(tmp_path, monkeypatch):
    linear = {'linear': {'top1': 70.0, 'best_epoch': {'top1': 71.0}}}
    answers = {
        'evaluate_config': {'knn': {'top1': {20: 60.0}}},
        'load_frozen_encoder': SimpleNamespace(data_root='data'),
        'linear_eval': linear,
        'read_curves': {},
    }
    for name, answer in answers.items():
        monkeypatch.setattr(f'repre_mm.studies.ablation_run.{name}', lambda *_, answer=answer, **__: answer)
    cell, cfg = Cell(Base('MoCo v3', 'ViT-S'), 'none', 0), Config({'work_dir': 'w', 'train_cfg': {'max_epochs': 1}})
    scores = _scores(cell, cfg, Settings('paper', 'data', 8), 'cpu', 0)
    assert scores == {'linear_top1': 71.0, 'knn_top1': 60.0, 'recon_l1': None}
    linear['linear']['best_epoch'] = None
    assert _scores(cell, cfg, Settings('paper', 'data', 8), 'cpu', 0)['linear_top1'] == 70.0


@pytest.mark.slow
def test_killed_run_goes_on_where_it_was(tmp_path):
    data = make_image_folder(tmp_path / 'images', train=16, val=8)
    work_dir, epochs = tmp_path / 'work', 12
    command = [sys.executable, str(TOOL), '--config', str(TINY), '--study', 'features', '--seeds', '0']
    command += ['--epochs', str(epochs), '--data', str(data), '--work-dir', str(work_dir), '--k', '3', '--workers', '0']
    cells = [work_dir / 'tiny_config' / variant / 'seed_0/cell.json' for variant in ('none', 'single', 'default')]
    with open(tmp_path / 'log', 'w') as log:
        first = subprocess.Popen(command, stdout=log, stderr=log, env=ENVIRONMENT, cwd=tmp_path)
    try:
        while not (cells[1].parent / 'epoch_3.pth').is_file():
            assert first.poll() is None, (tmp_path / 'log').read_text()
            time.sleep(0.02)
    finally:
        first.kill()
        first.wait()
    finished = cells[0].read_text()
    assert 'scores' in json.loads(finished)
    assert 'scores' not in json.loads(cells[1].read_text())
    assert not cells[2].exists()

    again = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert '3 cells: 1 finished before, 2 to do' in again.stdout
    assert cells[0].read_text() == finished
    resumed_at = [json.loads(cell.read_text())['scores']['resumed_at'] for cell in cells]
    assert resumed_at[0] == resumed_at[2] == 0
    assert 2 <= resumed_at[1] < epochs
    result = json.loads((work_dir / 'ablation.json').read_text())
    assert [row['variant'] for row in result['cells']] == ['none', 'single', 'default']
    assert '| tiny_config |  | ✓ |  |' in (work_dir / 'ablation.md').read_text()

    third = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
    assert '3 finished before, 0 to do' in third.stdout


@pytest.mark.slow
def test_tables_4_and_5_at_toy_size(tmp_path):
    data = make_image_folder(tmp_path / 'images', train=16, val=8)
    command = [sys.executable, str(TOOL), '--size', 'toy', '--epochs', '1', '--data', str(data), '--k', '3']
    command += ['--work-dir', str(tmp_path / 'work'), '--workers', '0', '--cfg-options']
    loader = {'batch_size': 8, 'num_workers': 0, 'persistent_workers': False}
    command += [f'train_dataloader.{key}={value}' for key, value in loader.items()]
    result = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    text = (tmp_path / 'work/ablation.md').read_text()
    rows = [line.strip('|').split('|') for line in text.splitlines() if line.startswith('| ')]
    table_4 = [row for row in rows if row[0].strip() in ('MoCo v3', 'MoBY')]
    table_5 = [row for row in rows if row[0].strip() in ('w/o decoder', 'Conv', 'Transformer')]
    assert len(table_4) == 12 and len(table_5) == 14
    scores = [row[4] for row in table_4] + [row[3] for row in table_5]
    assert all(0 <= float(score) <= 100 for score in scores)
    assert (tmp_path / 'work/gains.png').is_file()
