"""Schedules that do not fit the training are found, and others are let through."""

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.tiny import tiny_config
from mmengine.optim import LinearLR
from torch.testing import assert_close

from repre_mm.engine.checks import data_faults
from repre_mm.engine.checks.names import option_faults
from repre_mm.engine.checks.schedule import resume_faults, schedule_faults, warmup_faults

COSINE = dict(type='CosineAnnealingLR', by_epoch=True, begin=0, convert_to_iter_based=True)
WARMUP = dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, convert_to_iter_based=True)


def config(schedulers, epochs=6, **options):
    cfg = tiny_config(**{'train_cfg.max_epochs': epochs, **options})
    cfg.param_scheduler = schedulers
    return cfg


@pytest.mark.parametrize(
    ('schedulers', 'epochs', 'fault'),
    [
        ([dict(COSINE, end=6)], 12, '0.end=6: the training ends at 12, so the rest would run at its last value'),
        ([dict(COSINE, end=6)], 2, '0.end=6: the training ends at 2, so it would be cut off half-way; set the length'),
        ([dict(WARMUP, end=6), dict(COSINE, end=6)], 6, '0.end=6: the training ends at 6, before its warm-up'),
        ([dict(COSINE, begin=9, end=8)], 6, '0.end=8: must be above begin=9'),
        ([dict(COSINE, begin=6, end=8)], 6, '0.begin=6: training ends at 6, before this schedule begins'),
        ([dict(COSINE, end=6, eta_min=0, eta_min_ratio=0)], 6, '0: Either `eta_min`'),
        ([dict(type='PolyLR', end=5)], 6, '0.end=5: the training ends at 6'),
        ([dict(COSINE, type='CosineAnnealingWeightDecay', end=5)], 6, '0.end=5: the training ends at 6'),
    ],
)
def test_ends(schedulers, epochs, fault):
    (found,) = schedule_faults(config(schedulers, epochs))
    assert found.startswith(f'param_scheduler.{fault}')


@pytest.mark.parametrize(
    'schedulers',
    [
        [dict(WARMUP, end=2), dict(COSINE, begin=2, end=6)],
        [dict(WARMUP, end=2), dict(COSINE, end=6)],  # MoBY's
        [dict(type='MultiStepLR', by_epoch=True, begin=0, end=4, milestones=[2, 3])],
        [dict(type='StepLR', step_size=2), dict(type='ExponentialLR', gamma=0.9, end=3)],
        [dict(type='CosineRestartLR', periods=[2, 2], restart_weights=[1, 1], eta_min=0, end=4)],
        [dict(type='CosineAnnealingLR', T_max=3)],  # goes up and down
        [dict(type='OneCycleLR', eta_max=0.1, total_steps=600, by_epoch=False)],
        [dict(COSINE, end=4), dict(type='ConstantLR', factor=1, begin=4, end=6)],  # YOLOX's
        dict(type='CosineAnnealingLR', T_max=6),
        None,
    ],
)
def test_no_false_alarms(schedulers):
    assert list(schedule_faults(config(schedulers))) == []


def test_a_teacher_that_never_warms_up():
    head = dict(type='repre_mm.DINOHook', warmup_teacher_temp_epochs=30)
    (found,) = schedule_faults(config([dict(COSINE, end=6)], **{'model.head': head}))
    assert found.startswith('model.head.warmup_teacher_temp_epochs=30: the training ends at 6')


@pytest.mark.parametrize(
    ('warmup', 'batch', 'epochs', 'fault'),
    [
        (
            dict(type='LinearLR', by_epoch=False, end=1000),
            2,
            12,
            '.end=1000: the training has 480 steps (12 epochs of 40)',
        ),
        (dict(type='LinearLR', by_epoch=False, end=479), 2, 12, None),
        (
            dict(WARMUP, end=1),
            64,
            6,
            ': a warm-up from 0 to 1 is one step at 64 images a step, and leaves the rate at 0.01',
        ),
        (dict(WARMUP, end=2), 64, 6, None),
        (dict(WARMUP, end=1), 40, 6, None),
        (dict(WARMUP, end=1, convert_to_iter_based=False), 2, 6, ': a warm-up from 0 to 1'),
    ],
)
def test_warmups(warmup, batch, epochs, fault, tmp_path):
    images = make_image_folder(tmp_path / 'images', train=80)
    options = {'train_dataloader.dataset.root': str(images), 'work_dir': str(tmp_path / 'run')}
    cfg = config([warmup], epochs, **options)
    cfg.train_dataloader.update(batch_size=batch, drop_last=True)
    found = list(warmup_faults(cfg))
    assert found == data_faults(cfg)
    assert len(found) == bool(fault)
    assert all(line.startswith(f'param_scheduler.0{fault}') for line in found)


def test_a_warmup_of_one_step_is_what_the_check_says():
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = LinearLR(optimizer, start_factor=0.01, begin=0, end=1, by_epoch=False)
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    assert_close(torch.tensor(rates), torch.full((5,), 0.01))


@pytest.mark.parametrize(('then', 'fault'), [(24, None), (12, 'param_scheduler.0.end=3, not 6; a resume keeps')])
def test_a_resume_keeps_its_schedule(then, fault, tmp_path):
    meta = {'iter': 12, 'batches_per_epoch': 4}
    torch.save({'meta': meta, 'optimizer': {}, 'param_schedulers': [{'end': then}]}, tmp_path / 'epoch_3.pth')
    found = list(resume_faults(config([dict(COSINE, end=6)], work_dir=str(tmp_path))))
    assert len(found) == bool(fault)
    assert all(fault in line for line in found)


def test_a_variable_that_the_config_has_used():
    (found,) = option_faults(tiny_config(), ['train_cfg.max_epochs', 'mlp.hid_channels', 'device_augment'])
    assert found.startswith('--cfg-options mlp.hid_channels: nothing reads mlp any more')
    assert list(option_faults(tiny_config(custom_imports=dict(imports=['mine'])), ['mlp.hid_channels'])) == []
