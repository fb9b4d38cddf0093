"""Batches, queues and numbers of views that a method cannot use."""

from pathlib import Path

from fixtures.tiny import tiny_config
from mmengine.config import Config

from repre_mm.engine.checks import config_faults

ROOT = Path(__file__).parents[2]


def test_batches_and_queues(monkeypatch):
    moco = Config.fromfile(ROOT / 'configs/toy/mocov2_vit-tiny_toy.py')
    assert moco.train_dataloader.batch_size == 64
    moco.model.queue_len = 32
    (fault,) = config_faults(moco)
    assert 'model.queue_len=32: shorter than a batch of 64 images (train_dataloader.batch_size=64)' in fault
    moco.model.queue_len = 100
    assert config_faults(moco) == []  # ours wraps around
    moco.model.type = 'MoCo'
    (fault,) = config_faults(moco)
    assert 'model.queue_len=100: not a multiple of the batch of 64 images' in fault
    assert 'choose 64' in fault
    monkeypatch.setenv('WORLD_SIZE', '2')
    (fault,) = config_faults(moco)
    assert 'shorter than a batch of 128 images (train_dataloader.batch_size=64 on 2 processes)' in fault


def test_a_loop_without_a_length():
    cfg = tiny_config()
    del cfg.train_cfg['max_epochs']
    (fault,) = config_faults(cfg)
    assert fault == 'train_cfg: needs max_epochs=... or max_iters=...'
