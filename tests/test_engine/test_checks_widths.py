"""A step on fake tensors finds parts that do not fit each other, the views or the batch."""

from pathlib import Path

import pytest
import torch
from fixtures.tiny import tiny_config
from mmengine.config import Config

from repre_mm.engine.checks import config_faults
from repre_mm.engine.checks.widths import build_without_memory

ROOT = Path(__file__).parents[2]
TOY = ROOT / 'configs/toy'
MOCO = TOY / 'mocov2_vit-tiny_toy.py'
MASK_RCNN, SETR = TOY / 'transfer/mask-rcnn_swin-tiny_toy.py', TOY / 'transfer/setr-naive_vit-tiny_toy.py'


@pytest.mark.parametrize(
    ('config', 'options', 'fault'),
    [
        (None, {'algorithm.neck.in_channels': 48}, 'model.algorithm.neck.fc0 fails ('),
        (None, {'algorithm.head.predictor.in_channels': 17}, 'model.algorithm.head.predictor.fc0 fails ('),
        (None, {'algorithm.head.predictor.out_channels': 8}, 'model.algorithm.head fails (einsum(): '),
        (None, {'decoder': dict(patch_size=4)}, 'model.repre_decoder fails (The size of tensor a (16) must match'),
        (None, {'neck.in_channels': [8] * 4}, 'model.repre_neck.projections.0 fails (Given groups=1, weight of size'),
        (None, {'neck.num_levels': 9}, 'model: RePreNeck: num_levels=9 levels cannot be sampled'),
        (MOCO, {'feat_dim': 64}, 'model fails (the projector (neck) gives 128 channels, but feat_dim=64) in a step of'),
        (MOCO, {'queue_len': 32}, 'model fails (queue_len=32 is smaller than the batch of 64 images'),
        (MOCO, {'type': 'MoCo', 'queue_len': 100}, 'model fails (its arguments break `assert self.queue_len % batch'),
        (MASK_RCNN, {'neck.in_channels': [32, 64, 128]}, 'model.neck fails ('),
        (MASK_RCNN, {'rpn_head.in_channels': 32}, 'model.rpn_head.rpn_conv fails ('),
        (SETR, {'decode_head.in_channels': 64}, 'model.decode_head'),
        (SETR, {'decode_head.in_index': 9}, 'model.decode_head fails (tuple index out of range)'),
    ],
)
def test_a_part_that_does_not_fit(config, options, fault):
    if config in (MASK_RCNN, SETR):
        pytest.importorskip('mmcv._ext', reason='mmcv was installed without its ops', exc_type=ImportError)
    cfg = tiny_config() if config is None else Config.fromfile(config)
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    (found,) = config_faults(cfg)
    assert found.startswith(fault)


@pytest.mark.parametrize('num_views', [2, [2]])
@pytest.mark.parametrize('size', [32, 36])
def test_crops(num_views, size):
    view = [dict(type='RandomResizedCrop', scale=size, backend='pillow')]
    cfg = tiny_config()
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='repre_mm.FastMultiView', num_views=num_views, transforms=[view]),
        dict(type='PackInputs'),
    ]
    faults = config_faults(cfg)
    assert len(faults) == (size == 36)
    assert all('36 x 36 pixels is not divisible by the patch of 8 x 8: choose a crop of 32' in f for f in faults)


def test_crops_of_a_method_without_repre():
    cfg = Config.fromfile(MOCO)
    cfg.merge_from_dict({'model.backbone.patch_size': 7, 'model.backbone.img_size': 49})
    assert any('48 pixels is not divisible by the patch of 7: choose 42' in fault for fault in config_faults(cfg))


def test_the_batch_is_that_of_all_processes(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    cfg = Config.fromfile(MOCO)
    cfg.model.queue_len = 64
    (fault,) = config_faults(cfg)
    assert 'smaller than the batch of 128 images' in fault


def test_a_step_that_depends_on_values_is_let_through(monkeypatch):
    """Which fake tensors cannot tell."""
    monkeypatch.setattr('repre_mm.models.losses.FixedWeighting.forward', lambda self, contrast, _: contrast.item())
    assert config_faults(tiny_config()) == []


def test_the_check_allocates_nothing_and_draws_nothing():
    cfg = Config.fromfile(ROOT / 'configs/pretrain/mocov3/repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k.py')
    before = torch.get_rng_state()
    model = build_without_memory(cfg)
    assert {parameter.device.type for parameter in model.parameters()} == {'meta'}
    assert config_faults(tiny_config()) == []
    assert torch.equal(torch.get_rng_state(), before)
