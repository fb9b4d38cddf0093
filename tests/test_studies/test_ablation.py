"""The ablation runner: every variant builds, tables, and a run that is killed and goes on."""

import argparse
import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from fixtures.data import make_image_folder
from mmengine.registry import MODELS, DefaultScope

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/ablation.py'
TINY = ROOT / 'tests/fixtures/tiny_config.py'
ABLATION = runpy.run_path(str(TOOL))
VARIANTS, STUDIES = ABLATION['VARIANTS'], ABLATION['STUDIES']


def _args(tmp_path: Path, **options) -> argparse.Namespace:
    defaults = {'config': TINY, 'data': tmp_path, 'work_dir': tmp_path, 'amp': False, 'epochs': 1, 'train_images': 12}
    return argparse.Namespace(**{**defaults, **options})


def test_studies_name_variants_and_every_variant_is_used():
    named = {variant for _, columns in STUDIES.values() for variant in columns.values()}
    assert named == set(VARIANTS)


@pytest.mark.parametrize('name', VARIANTS)
def test_variant_builds_and_learns(name, tmp_path):
    cfg = ABLATION['variant_config'](name, 3, _args(tmp_path))
    assert cfg.randomness.seed == 3
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build({'data_preprocessor': cfg.data_preprocessor, **cfg.model})
    losses = model.loss([torch.rand(4, 3, 32, 32) for _ in range(2)], [])
    losses['loss'].backward()
    assert losses['loss'].isfinite()
    assert ('recon_l1' in losses) == (name != 'none')


def test_variants_change_what_they_say(tmp_path):
    def model(name: str):
        return ABLATION['variant_config'](name, 0, _args(tmp_path)).model

    assert model('none').type == 'MoCoV3'
    assert model('single').neck.features == 'single'
    assert model('conv_4').decoder == {'num_fusion_layers': 4}
    assert model('uncertainty_free').loss_weighting.max_ratio is None
    assert model('fixed').loss_weighting == {'type': 'repre_mm.FixedWeighting'}
    assert model('dwa').loss_weighting == {'type': 'repre_mm.DynamicWeightAveraging', 'interval': 3}  # 12 images by 4
    assert VARIANTS['dwa']['model.loss_weighting']['interval'] == 'steps per epoch'  # the table is not written to
    gated = ABLATION['variant_config']('gated', 0, _args(tmp_path))
    assert gated.model.neck.type == 'repre_mm.GatedRePreNeck'
    keys = gated.optim_wrapper.paramwise_cfg.custom_keys
    assert keys['repre_neck.gate'].decay_mult == keys['loss_weighting'].decay_mult == 0


def test_table_has_mean_and_spread():
    scores = {'none': (50.0, 52.0), 'single': (60.0, 61.0), 'default': (70.0, 70.0)}
    cells = {
        (name, seed): {'linear_top1': top1, 'knn_top1': top1 - 10, 'recon_l1': None if name == 'none' else 0.25}
        for name, both in scores.items()
        for seed, top1 in enumerate(both)
    }
    lines = ABLATION['table']('features', cells, [0, 1])
    assert lines[2] == '| | none | single | multi |'
    assert lines[4] == '| linear probe, top-1 (%) | 51.0 ± 1.4 | 60.5 ± 0.7 | 70.0 ± 0.0 |'
    assert lines[6] == '| L1 | - | 0.2500 ± 0.0000 | 0.2500 ± 0.0000 |'
    assert ABLATION['table']('features', cells, [1])[4] == '| linear probe, top-1 (%) | 52.0 | 61.0 | 70.0 |'


def test_cells_of_other_settings_are_not_mixed_in(tmp_path):
    path = tmp_path / 'cell.json'
    assert ABLATION['kept'](path, {'epochs': 3}) is None
    path.write_text(json.dumps({'settings': {'epochs': 2}, 'scores': {}}))
    with pytest.raises(ValueError, match='made with epochs=2: name another --work-dir'):
        ABLATION['kept'](path, {'epochs': 3})


@pytest.mark.slow
def test_killed_run_goes_on_where_it_was(tmp_path):
    data = make_image_folder(tmp_path / 'images', train=16, val=8)
    work_dir, epochs = tmp_path / 'work', 12
    command = [sys.executable, str(TOOL), '--config', str(TINY), '--study', 'features', '--seeds', '0']
    command += ['--epochs', str(epochs), '--data', str(data), '--work-dir', str(work_dir), '--k', '3']
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    cells = [work_dir / variant / 'seed_0/cell.json' for variant in ('none', 'single', 'default')]
    with open(tmp_path / 'log', 'w') as log:
        first = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=tmp_path)
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

    again = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert '3 cells of 12 epochs: 1 finished before, 2 to do' in again.stdout
    assert cells[0].read_text() == finished
    resumed_at = [json.loads(cell.read_text())['scores']['resumed_at'] for cell in cells]
    assert resumed_at[0] == resumed_at[2] == 0
    assert 2 <= resumed_at[1] < epochs
    result = json.loads((work_dir / 'ablation.json').read_text())
    assert [row['variant'] for row in result['cells']] == ['none', 'single', 'default']
    assert '| | none | single | multi |' in (work_dir / 'ablation.md').read_text()

    third = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert '3 finished before, 0 to do' in third.stdout
