"""Uncertainty weighting through the Runner: belongs to repre_mm/models/losses.py."""

import argparse
from pathlib import Path

import pytest
from fixtures.data import make_image_folder
from fixtures.methods import SHIFTS, tiny_method

from repre_mm.cli.config import load_config
from repre_mm.engine.launch import build_runner

CONFIG = Path(__file__).parents[1] / 'fixtures/tiny_config.py'


@pytest.mark.parametrize('method', ['mocov3', 'simsiam'])
def test_each_weight_times_its_loss_is_near_one(method, tmp_path):
    """From the first steps to the last, with the log-variances' rate of the shipped configs."""
    images = make_image_folder(tmp_path / 'images', train=32, val=1)
    args = argparse.Namespace(
        config=str(CONFIG), work_dir=str(tmp_path / 'run'), data=str(images), amp=False, launcher='none'
    )
    args.cfg_options = {'train_dataloader.batch_size': 8, 'train_cfg.max_epochs': 10}
    cfg = load_config(args)
    cfg.model = tiny_method(method, 'vit', repre=True)
    cfg.default_hooks.knn = cfg.default_hooks.reconstruction = None
    cfg.default_hooks.checkpoint.interval = 10
    # 40 steps stand for a run of a thousand: the network learns more slowly, the log-variances do not.
    cfg.param_scheduler = []
    cfg.optim_wrapper.optimizer.lr = 3e-5
    cfg.optim_wrapper.paramwise_cfg.custom_keys.loss_weighting.lr_mult = 0.02 / 3e-5
    runner = build_runner(cfg)
    runner.train()

    def logged(name: str, start: int, end: int | None) -> float:
        return runner.message_hub.get_scalar(f'train/{name}').data[0][start:end].mean()

    for start, end in ((0, 10), (10, 20), (-10, None)):
        contrast = logged('contrast', start, end) + SHIFTS.get(method, 0.0)
        assert 0.7 < logged('weight_contrast', start, end) * contrast < 1.4
        assert 0.7 < logged('weight_recon', start, end) * logged('recon_l1', start, end) < 1.4
    assert runner.iter == 40
