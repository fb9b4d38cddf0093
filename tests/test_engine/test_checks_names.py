"""Unknown types and keys are found, with the nearest that is known."""

import pytest
from fixtures.tiny import tiny_config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from repre_mm.engine.checks import config_faults


def test_all_names_in_one_list():
    wrong = {
        'optim_wraper.type': 'OptimWrapper',
        'train_dataloader.batchsize': 4,
        'train_dataloader.dataset.type': 'ImageFolder',
        'optim_wrapper.paramwise_cfg.custom_keys.loss_weighting.lr_mul': 5,
    }
    faults = '\n'.join(config_faults(tiny_config(**wrong)))
    for line in (
        'optim_wraper: nothing reads it; did you mean optim_wrapper?',
        'train_dataloader.batchsize: there is no such key; did you mean batch_size',
        "train_dataloader.dataset.type: 'ImageFolder' is not a registered dataset; did you mean repre_mm.ImageFolder",
        'custom_keys.loss_weighting.lr_mul: nothing reads it; did you mean lr_mult?',
    ):
        assert line in faults
    assert faults.count('\n') == len(wrong) - 1


@pytest.mark.parametrize(
    ('key', 'value', 'fault'),
    [
        ('model.algorithm.type', 'MocoV33', "model: 'MocoV33' is not a registered model; did you mean MoCoV3 or"),
        (
            'model.algorithm.head.loss.loss_wight',
            2,
            "model: CrossEntropyLoss takes no argument 'loss_wight'; did you mean loss_weight",
        ),
        ('model.neck.levels', 4, "model: RePreNeck takes no argument 'levels'; did you mean num_levels?"),
        (
            'optim_wrapper.optimizer.weigth_decay',
            0.1,
            "optim_wrapper.optimizer: AdamW takes no argument 'weigth_decay'; did you mean weight_decay?",
        ),
        (
            'train_dataloader.dataset.pipeline.1.transforms.0.0.scal',
            32,
            "train_dataloader.dataset.pipeline.1: RandomResizedCrop takes no argument 'scal'; did you mean scale",
        ),
        (
            'param_scheduler.0.type',
            'CosineAnealingLR',
            "param_scheduler.0: 'CosineAnealingLR' is not a registered parameter scheduler; did you mean Cosine",
        ),
        (
            'default_hooks.momentum.type',
            'MomentumUpdateHook',
            "default_hooks.momentum.type: 'MomentumUpdateHook' is not a registered hook; did you mean repre_mm.Mom",
        ),
    ],
)
def test_names_that_building_finds(key, value, fault):
    (found,) = config_faults(tiny_config(**{key: value}))
    assert found.startswith(fault)


def test_a_name_that_is_registered_later_is_known_then():
    cfg = tiny_config(**{'custom_hooks': [dict(type='LateHook')]})
    (fault,) = config_faults(cfg)
    assert fault.startswith("custom_hooks.0.type: 'LateHook' is not a registered hook")
    HOOKS.register_module(name='LateHook', module=type('LateHook', (Hook,), {}))
    try:
        assert config_faults(cfg) == []
    finally:
        del HOOKS.module_dict['LateHook']
