"""An encoder to start from is loaded where it fits, and refused where it does not."""

import shutil
from pathlib import Path

import pytest
import torch
from fixtures.transfer import SEGMENTATION, make_encoder_checkpoint, make_scenes, transfer_config

from repre_mm.checkpoint import CheckpointError
from repre_mm.datasets import ImageReadError
from repre_mm.engine import initial_weights
from repre_mm.engine.initial_weights import start_from
from repre_mm.engine.launch import build_runner
from repre_mm.transfer.loading import load_trained, name_damaged_files


@pytest.fixture(scope='module')
def scenes(tmp_path_factory) -> Path:
    return make_scenes(tmp_path_factory.mktemp('scenes'))


def test_a_checkpoint_of_another_model_is_refused(scenes, tmp_path):
    runner = build_runner(transfer_config(SEGMENTATION, scenes, tmp_path / 'run', test=True))
    path = tmp_path / 'other.pth'
    torch.save({'state_dict': {'backbone.cls_token': torch.zeros(1, 1, 128)}}, path)
    with pytest.raises(CheckpointError, match=r'does not fit .*setr-naive_vit-tiny_toy.py'):
        load_trained(runner.model, runner.cfg, path)
    with pytest.raises(CheckpointError, match='does not fit the encoder'):
        start_from(runner, path)


def test_resume_without_anything_to_resume_starts_from_the_encoder(scenes, tmp_path):
    cfg = transfer_config(SEGMENTATION, scenes, tmp_path / 'run')
    source = make_encoder_checkpoint(cfg, tmp_path / 'encoder.pth')
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/last_checkpoint').write_text(str(tmp_path / 'run/iter_1.pth'))  # it was removed since
    cfg.resume = True
    runner = build_runner(cfg)
    assert start_from(runner, tmp_path / 'encoder.pth').filled > 0.95
    torch.testing.assert_close(runner.model.backbone.cls_token.data, source['cls_token'])


def test_the_encoder_can_be_named_by_its_place(scenes, tmp_path):
    cfg = transfer_config(SEGMENTATION, scenes, tmp_path / 'run')
    right = make_encoder_checkpoint(cfg, tmp_path / 'encoder.pth')
    state = {f'{place}.{key}': value for place in ('one', 'two') for key, value in right.items()}
    state['one.cls_token'] = torch.zeros_like(right['cls_token'])
    torch.save(state, tmp_path / 'two.pth')
    runner = build_runner(cfg)
    with pytest.raises(CheckpointError, match=r'several encoders.*one\., two\.\. Name one as prefix \(--prefix\)'):
        start_from(runner, tmp_path / 'two.pth')
    assert start_from(runner, tmp_path / 'two.pth', prefix='two').filled == 1
    torch.testing.assert_close(runner.model.backbone.cls_token.data, right['cls_token'])


def test_what_an_encoder_cannot_be_combined_with(scenes, tmp_path, monkeypatch):
    cfg = transfer_config(SEGMENTATION, scenes, tmp_path / 'run')
    cfg.load_from = 'whole.pth'
    runner = build_runner(cfg)
    with pytest.raises(ValueError, match=r'encoder.pth fills the encoder, and load_from=whole.pth would overwrite it'):
        start_from(runner, tmp_path / 'encoder.pth')
    runner._load_from = None
    monkeypatch.setattr(initial_weights, 'is_sharded', lambda model: True)
    with pytest.raises(ValueError, match=r'encoder.pth cannot fill a model whose parameters are split'):
        start_from(runner, tmp_path / 'encoder.pth')


def test_a_test_names_damaged_files(scenes, tmp_path):
    data = tmp_path / 'scenes'
    shutil.copytree(scenes, data)
    runner = build_runner(transfer_config(SEGMENTATION, data, tmp_path / 'run', test=True))
    dataset = runner.test_dataloader.dataset
    name_damaged_files(runner)
    for index, key in enumerate(('img_path', 'seg_map_path')):
        path = Path(dataset.get_data_info(index)[key])
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ImageReadError, match=str(path)):
            dataset[index]
    assert dataset[2]['inputs'].shape == (3, 128, 192)
