"""A command line without its data becomes a config."""

import argparse

import pytest
from fixtures.tiny import TINY

from repre_mm.datasets import DatasetError
from repre_mm.engine.launch import build_runner, read_config, set_data_root
from repre_mm.utils.errors import UserError


def arguments(config=TINY, **options) -> argparse.Namespace:
    defaults = dict(cfg_options=None, amp=False, launcher='none', work_dir=None)
    return argparse.Namespace(config=str(config), **{**defaults, **options})


def test_work_dir_is_named_after_the_config():
    assert read_config(arguments()).work_dir == f'work_dirs/{TINY.stem}'
    assert read_config(arguments(work_dir='run')).work_dir == 'run'


def test_amp_replaces_the_optimizer_wrapper(tmp_path):
    config = tmp_path / 'fp16.py'
    config.write_text("optim_wrapper = dict(type='AmpOptimWrapper', loss_scale=512.0, dtype='float16', clip_grad=None)")
    assert read_config(arguments(config, amp=True)).optim_wrapper == {
        'type': 'repre_mm.BFloat16OptimWrapper',
        'clip_grad': None,
    }
    config.write_text('model = 3')
    with pytest.raises(UserError, match=r'--amp: .*fp16\.py has no optim_wrapper'):
        read_config(arguments(config, amp=True))


def test_config_that_cannot_be_read_names_its_line(tmp_path):
    config = tmp_path / 'wrong.py'
    config.write_text('model = 1\nmodel = = 2\n')
    with pytest.raises(UserError, match=r'wrong\.py cannot be read, line 2: SyntaxError'):
        read_config(arguments(config))


def test_every_image_folder_gets_the_root_and_must_exist(tmp_path):
    cfg = read_config(arguments())
    set_data_root(cfg, str(tmp_path / 'none'))
    assert {cfg.data_root, cfg.train_dataloader.dataset.root, cfg.default_hooks.knn.dataset.root} == {
        str(tmp_path / 'none')
    }
    with pytest.raises(DatasetError, match='none'):
        build_runner(cfg)
