"""``device_augment = True`` changes a config as documented, and such runs train and resume exactly."""

import argparse
import copy
import re
from pathlib import Path

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.resuming import CrashAt, SimulatedCrashError, assert_same_end, make_runner
from mmengine.config import Config
from mmengine.registry import MODELS

from repre_mm.cli.config import load_config
from repre_mm.datasets import view_sizes
from repre_mm.engine.checks import config_faults
from repre_mm.engine.device_augment import augment_on_device
from repre_mm.engine.launch import build_runner
from repre_mm.models import DeviceAugmentPreprocessor

ROOT = Path(__file__).parents[2]
CONFIGS = [
    *sorted((ROOT / 'configs/toy').glob('repre_*_toy.py')),
    *(next((ROOT / 'configs/pretrain' / name).glob('repre_*')) for name in ('byol', 'mocov3', 'moby', 'simclr')),
    *(ROOT / 'configs/pretrain/dino').glob('repre_*800e*'),
]
CROP = dict(type='RandomResizedCrop', scale=32, backend='pillow')
VIEW = [
    CROP,
    dict(type='RandomApply', transforms=[dict(type='ColorJitter', brightness=0.4, hue=0.1)], prob=0.8),
    dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf', prob=0.5),
    dict(type='RandomFlip', prob=0.5),
]
PIPELINE = [dict(type='repre_mm.FastMultiView', num_views=[2], transforms=[VIEW]), dict(type='PackInputs')]
ON_DEVICE = {'device_augment': True, 'train_dataloader.dataset.pipeline': PIPELINE}
EVERY_2 = {'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 2}


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp('images'))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_method_switches(path):
    """Loader and device together do the shipped recipe, nothing twice."""
    cfg = Config.fromfile(path)
    before = cfg.train_dataloader.dataset.pipeline[0].copy()
    sizes = view_sizes(cfg.train_dataloader.dataset.pipeline)
    normalisation = {key: cfg.data_preprocessor[key] for key in ('mean', 'std', 'to_rgb')}
    cfg.device_augment = True
    augment_on_device(cfg)
    assert 'device_augment' not in cfg
    assert {key: cfg.data_preprocessor[key] for key in normalisation} == normalisation
    after = cfg.train_dataloader.dataset.pipeline[0]
    for whole, cut, rest in zip(before.transforms, after.transforms, cfg.data_preprocessor.transforms, strict=True):
        assert [step.type for step in cut] == ['RandomResizedCrop', 'RandomFlip']
        assert rest == [step for step in whole if step not in cut]
        assert len(whole) == len(cut) + len(rest)
    assert view_sizes(cfg.train_dataloader.dataset.pipeline) == sizes
    preprocessor = MODELS.build(cfg.data_preprocessor)
    views = [torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8) for size in sizes]
    processed = preprocessor({'inputs': views, 'data_samples': None}, True)['inputs']
    assert [view.shape[-1] for view in processed] == sizes

    # A run saves the config as it is now; training from that one changes nothing more.
    cfg.device_augment = True
    again = copy.deepcopy(cfg)
    augment_on_device(again)
    assert again.train_dataloader == cfg.train_dataloader
    assert again.data_preprocessor == cfg.data_preprocessor


def test_without_the_line_nothing_changes():
    cfg = Config.fromfile(CONFIGS[0])
    text = cfg.pretty_text
    augment_on_device(cfg)
    assert cfg.pretty_text == text


def test_resumed_run_ends_alike(images, tmp_path):
    """With colours drawn on the device, in bf16, in the middle of an epoch."""
    options = dict(amp=True, **EVERY_2, **ON_DEVICE)
    whole = make_runner(images, tmp_path / 'whole', **options)
    assert type(whole.model.data_preprocessor) is DeviceAugmentPreprocessor
    whole.train()
    stopped = make_runner(images, tmp_path / 'parts', **options)
    stopped.register_hook(CrashAt(8))
    with pytest.raises(SimulatedCrashError):
        stopped.train()
    resumed = make_runner(images, tmp_path / 'parts', resume=True, **options)
    resumed.train()
    assert (resumed.iter, resumed.epoch) == (8, 2)
    assert_same_end(tmp_path / 'whole', tmp_path / 'parts', 'iter_8.pth')


def test_command_line_of_the_docs_trains(images, tmp_path):
    """DINO on toy scenes, six views in two sizes, with the picture of view 1."""
    options = {
        'device_augment': True,
        'train_dataloader.batch_size': 4,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_cfg.max_epochs': 1,
        'param_scheduler': [dict(type='CosineAnnealingLR', by_epoch=True, end=1)],
        'default_hooks.knn': None,
    }
    args = argparse.Namespace(
        config=str(ROOT / 'configs/toy/repre_dino_vit-tiny_toy.py'),
        work_dir=str(tmp_path),
        data=str(images),
        amp=True,
        launcher='none',
        cfg_options=options,
    )
    runner = build_runner(load_config(args))
    runner.train()
    assert runner.iter == 2
    assert torch.isfinite(torch.tensor(runner.message_hub.get_scalar('train/loss').current()))
    assert len(list(tmp_path.glob('reconstructions/*.png'))) == 2
    (saved,) = tmp_path.glob('*.py')
    saved = Config.fromfile(saved)
    assert saved.data_preprocessor.type == 'repre_mm.DeviceAugmentPreprocessor'
    assert config_faults(saved) == []


def broken(change) -> Config:
    cfg = Config.fromfile(ROOT / 'configs/toy/repre_mocov3_vit-tiny_toy.py')
    cfg.device_augment = True
    change(cfg)
    return cfg


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            lambda cfg: cfg.train_dataloader.dataset.pipeline[0].update(type='MultiView'),
            'one repre_mm.FastMultiView.*0',
        ),
        (lambda cfg: cfg.data_preprocessor.update(to_rgb=False), 'to_rgb=True'),
        (lambda cfg: cfg.data_preprocessor.update(type='TwoNormDataPreprocessor'), 'TwoNormDataPreprocessor'),
        (lambda cfg: cfg.model.algorithm.update(data_preprocessor=dict(mean=[0], std=[1])), 'nowhere in model'),
    ],
)
def test_configs_that_cannot_be_switched(change, message):
    with pytest.raises(ValueError, match=message):
        augment_on_device(broken(change))
    assert re.search(message, '\n'.join(config_faults(broken(change))))
