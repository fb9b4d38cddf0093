"""Unknown types and keys are found at any depth, with the nearest that is known."""

from fixtures.tiny import tiny_config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmpretrain.models import SwinTransformer
from torch.optim import AdamW

from repre_mm.datasets import ImageFolder
from repre_mm.distributed.processes import DistributedDataParallel
from repre_mm.engine.checks import config_faults
from repre_mm.engine.checks.names import arguments_of, name_faults
from repre_mm.models.backbones import TimmBackbone


def test_all_names_in_one_list():
    wrong = {
        'optim_wraper.type': 'OptimWrapper',
        'model.algorithm.type': 'MocoV33',
        'model.algorithm.neck.in_chanels': 32,
        'model.algorithm.head.loss.loss_wight': 2,
        'model.neck.levels': 4,
        'train_dataloader.batchsize': 4,
        'train_dataloader.dataset.type': 'ImageFolder',
        'train_dataloader.dataset.pipeline.1.transforms.0.0.scal': 32,
        'optim_wrapper.optimizer.weigth_decay': 0.1,
        'optim_wrapper.paramwise_cfg.custom_keys.loss_weighting.lr_mul': 5,
        'param_scheduler.0.begn': 1,
        'default_hooks.momentum.type': 'MomentumUpdateHook',
        'train_cfg.max_epoch': 3,
    }
    faults = '\n'.join(config_faults(tiny_config(**wrong)))
    for line in (
        'optim_wraper: nothing reads it; did you mean optim_wrapper?',
        "model.algorithm.type: 'MocoV33' is not a registered model; did you mean MoCoV3 or",
        'model.algorithm.neck.in_chanels: NonLinearNeck takes no such argument; did you mean in_channels',
        'model.algorithm.head.loss.loss_wight: CrossEntropyLoss takes no such argument; did you mean loss_weight',
        'model.neck.levels: RePreNeck takes no such argument; did you mean num_levels?',
        'train_dataloader.batchsize: there is no such key; did you mean batch_size',
        "train_dataloader.dataset.type: 'ImageFolder' is not a registered dataset; did you mean repre_mm.ImageFolder",
        'pipeline.1.transforms.0.0.scal: RandomResizedCrop takes no such argument; did you mean scale',
        'optim_wrapper.optimizer.weigth_decay: AdamW takes no such argument; did you mean weight_decay?',
        'custom_keys.loss_weighting.lr_mul: nothing reads it; did you mean lr_mult?',
        'param_scheduler.0.begn: CosineAnnealingLR takes no such argument; did you mean begin',
        "momentum.type: 'MomentumUpdateHook' is not a registered hook; did you mean repre_mm.MomentumUpdateHook?",
        'train_cfg.max_epoch: EpochBasedTrainLoop takes no such argument; did you mean max_epochs',
    ):
        assert line in faults
    assert faults.count('\n') == len(wrong) - 1


def test_a_name_that_is_registered_later_is_known_then():
    cfg = tiny_config(**{'custom_hooks': [dict(type='LateHook')]})
    (fault,) = name_faults(cfg)
    assert fault.startswith("custom_hooks.0.type: 'LateHook' is not a registered hook")
    HOOKS.register_module(name='LateHook', module=type('LateHook', (Hook,), {}))
    try:
        assert list(name_faults(cfg)) == []
    finally:
        del HOOKS.module_dict['LateHook']


class Parent:
    def __init__(self, width: int, depth: int = 2) -> None:
        pass


class Child(Parent):
    def __init__(self, name: str, **kwargs) -> None:
        super().__init__(**kwargs)


def test_arguments():
    assert arguments_of(Child, inherited=True) == {'name', 'width', 'depth'}
    assert arguments_of(Child, inherited=False) is None
    assert arguments_of(TimmBackbone, inherited=False) is None  # it hands them to timm
    assert {'gradient_as_bucket_view', 'device_ids'} <= arguments_of(DistributedDataParallel, inherited=True)
    assert {'root', 'indices'} <= arguments_of(ImageFolder, inherited=True)
    for closed in (AdamW, SwinTransformer):
        assert 'nonsense' not in arguments_of(closed, inherited=False)
