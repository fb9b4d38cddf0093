"""A checkpoint saved before the package had its present layout resumes, and its encoder loads.

fixtures/old_checkpoint.pth.xz is epoch 1 of the options below, trained by version 0.1.0 at commit f093600.
"""

import lzma
from pathlib import Path

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.resuming import make_runner

from repre_mm.checkpoint import load_pretrained, read_checkpoint

OLD = Path(__file__).parents[1] / 'fixtures/old_checkpoint.pth.xz'
OPTIONS = {
    'model.algorithm.backbone.arch': dict(embed_dims=4, num_layers=2, num_heads=1, feedforward_channels=4),
    'model.algorithm.neck': dict(in_channels=4, hid_channels=4, out_channels=4),
    'model.algorithm.head.predictor': dict(in_channels=4, hid_channels=4, out_channels=4),
    'model.neck': dict(out_channels=2, num_levels=2),
}


@pytest.fixture
def work_dir(tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    (folder / 'epoch_1.pth').write_bytes(lzma.decompress(OLD.read_bytes()))
    return folder


def test_it_resumes(work_dir, tmp_path):
    images = make_image_folder(tmp_path / 'images')
    runner = make_runner(images, work_dir, resume=True, **OPTIONS, **{'train_cfg.max_epochs': 2})
    runner.train()
    assert runner.iter == 8
    new = read_checkpoint(work_dir / 'epoch_2.pth')
    assert len(new['message_hub']['log_scalars']['train/loss'].data[0]) == 8  # 4 of them the old run's
    assert new['state_dict']['momentum_encoder.steps'] == 8


def test_its_encoder_loads(work_dir, tmp_path):
    images = make_image_folder(tmp_path / 'images')
    backbone = make_runner(images, tmp_path / 'other', **OPTIONS).model.backbone
    report = load_pretrained(backbone, work_dir / 'epoch_1.pth')
    assert report.complete
    saved = read_checkpoint(work_dir / 'epoch_1.pth')['state_dict']
    for name, value in backbone.state_dict().items():
        torch.testing.assert_close(value, saved[f'backbone.{name}'], rtol=0, atol=0)
