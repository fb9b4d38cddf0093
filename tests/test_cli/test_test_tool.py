"""tools/test.py on a pre-training checkpoint, with fewer training images than the usual numbers of neighbours."""

import json
import runpy
import sys
from pathlib import Path

import torch
from fixtures.data import make_image_folder
from fixtures.tiny import TINY, tiny_config
from mmengine.registry import MODELS, DefaultScope

TOOL = Path(__file__).parents[2] / 'tools/test.py'


def test_few_images_are_scored_with_the_numbers_of_neighbours_that_they_allow(tmp_path, monkeypatch, capsys):
    images = make_image_folder(tmp_path / 'images', train=24, val=4)
    cfg = tiny_config()
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build({'data_preprocessor': cfg.data_preprocessor, **cfg.model})
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'a.pth')
    command = [
        'test.py',
        str(TINY),
        str(tmp_path / 'a.pth'),
        '--data',
        str(images),
        '--work-dir',
        str(tmp_path / 'run'),
    ]
    monkeypatch.setattr(sys, 'argv', command)
    runpy.run_path(str(TOOL), run_name='__main__')
    printed = capsys.readouterr().out
    result = json.loads(printed[printed.index('\n{') if '\n{' in printed else printed.index('{') :])
    assert list(result['knn']['top1']) == ['10', '20']
    assert result['train_images'] == 24
    assert 0 <= result['recon_l1'] <= 1
