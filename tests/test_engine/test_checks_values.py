"""Values that a constructor refuses are found by building the part."""

import pytest
from fixtures.tiny import tiny_config

from repre_mm.engine.checks.values import value_faults

VIEW = 'train_dataloader.dataset.pipeline.1.transforms'


@pytest.mark.parametrize(
    ('key', 'value', 'fault'),
    [
        ('optim_wrapper.optimizer.lr', -1.0, 'optim_wrapper.optimizer: AdamW: Invalid learning rate: -1.0'),
        (
            f'{VIEW}.0.1.prob',
            1.5,
            'train_dataloader.dataset.pipeline.1: RandomFlip: its arguments break `assert 0 <= ',
        ),
        ('default_hooks.logger.interval', 0, 'default_hooks.logger: LoggerHook: '),
    ],
)
def test_refused_values(key, value, fault):
    (found,) = value_faults(tiny_config(**{key: value}))
    assert found.startswith(fault)


def test_a_step_without_what_it_needs():
    cfg = tiny_config()
    cfg.train_dataloader.dataset.pipeline[1].transforms[1] = [dict(type='RandomCrop')]
    (found,) = value_faults(cfg)
    assert found == "train_dataloader.dataset.pipeline.1: RandomCrop needs 'crop_size'"


def test_a_sound_config():
    assert list(value_faults(tiny_config())) == []
