"""The parts of a model run on the device meta: what does not fit is named with the width that would."""

from pathlib import Path

import pytest
import torch
from fixtures.tiny import tiny_config
from mmengine.config import Config

from repre_mm.engine.checks import config_faults
from repre_mm.engine.checks.widths import build_without_memory, input_sizes

ROOT = Path(__file__).parents[2]
TOY = ROOT / 'configs/toy'
MASK_RCNN, SETR = TOY / 'transfer/mask-rcnn_swin-tiny_toy.py', TOY / 'transfer/setr-naive_vit-tiny_toy.py'


@pytest.mark.parametrize(
    ('config', 'key', 'value', 'fault'),
    [
        (None, 'algorithm.neck.in_channels', 48, 'model.algorithm.backbone gives 32 channels; set it to 32'),
        (None, 'algorithm.head.predictor.in_channels', 17, 'model.algorithm.neck gives 16 channels; set it to 16'),
        (None, 'algorithm.head.predictor.out_channels', 8, 'model.algorithm.neck gives 16 channels; set it to 16'),
        (TOY / 'mocov2_vit-tiny_toy.py', 'feat_dim', 64, 'model.neck gives 128 channels; set it to 128'),
        (TOY / 'moby_vit-tiny_toy.py', 'feat_dim', 64, 'model.neck gives 128 channels; set it to 128'),
        (MASK_RCNN, 'neck.in_channels', [32, 64, 128], 'model.backbone gives [32, 64, 128, 256] channels; set it to'),
        (MASK_RCNN, 'rpn_head.in_channels', 32, 'model.neck gives 64 channels; set it to 64'),
        (SETR, 'decode_head.in_channels', 64, 'model.backbone gives 128 channels; set it to 128'),
    ],
)
def test_a_part_of_another_width(config, key, value, fault):
    if config in (MASK_RCNN, SETR):
        pytest.importorskip('mmcv._ext', reason='mmcv was installed without its ops', exc_type=ImportError)
    cfg = tiny_config() if config is None else Config.fromfile(config)
    cfg.merge_from_dict({f'model.{key}': value})
    (found,) = config_faults(cfg)
    assert found.startswith(f'model.{key}={value}: {fault}')


def test_a_level_that_is_not_there():
    pytest.importorskip('mmcv._ext', reason='mmcv was installed without its ops', exc_type=ImportError)
    cfg = Config.fromfile(SETR)
    cfg.model.decode_head.in_index = 9
    (found,) = config_faults(cfg)
    assert found.startswith('model.decode_head: SETRUPHead fails (tuple index out of range) on model.backbone')


@pytest.mark.parametrize(
    ('options', 'fault'),
    [
        ({'model.decoder': dict(patch_size=4)}, 'it reconstructs 16 x 16 pixels of a view of 32 x 32'),
        ({'model.decoder': dict(in_channels=[8] * 4)}, 'model.decoder.in_channels=[8, 8, 8, 8]: the levels have [16'),
        ({'model.neck.in_channels': [8] * 4}, 'model.neck.in_channels=[8, 8, 8, 8]: the levels have [32, 32, 32, 32]'),
        ({'model.neck.num_levels': 9}, 'model: RePreNeck: num_levels=9 levels cannot be sampled'),
    ],
)
def test_the_branch(options, fault):
    (found,) = config_faults(tiny_config(**options))
    assert fault in found


@pytest.mark.parametrize('num_views', [2, [2]])
@pytest.mark.parametrize('size', [32, 36])
def test_crops(num_views, size):
    view = [dict(type='RandomResizedCrop', scale=size, backend='pillow')]
    cfg = tiny_config()
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='repre_mm.FastMultiView', num_views=num_views, transforms=[view]),
        dict(type='PackInputs'),
    ]
    assert input_sizes(cfg) == [(size, size)] * 2
    faults = config_faults(cfg)
    assert len(faults) == (size == 36)
    assert all('36 x 36 pixels is not divisible by the patch of 8 x 8: choose a crop of 32' in f for f in faults)


def test_the_check_allocates_nothing_and_draws_nothing():
    cfg = Config.fromfile(ROOT / 'configs/pretrain/mocov3/repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k.py')
    before = torch.get_rng_state()
    model = build_without_memory(cfg)
    assert {parameter.device.type for parameter in model.parameters()} == {'meta'}
    assert torch.equal(torch.get_rng_state(), before)
