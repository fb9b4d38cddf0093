"""What is wrong with a config is said at once and as a whole; nothing is said of a sound one."""

import importlib.util
from pathlib import Path

import pytest
import torch
from fixtures.data import make_image_folder
from mmengine.config import Config
from mmpretrain.models import SwinTransformer, VisionTransformer
from torch.optim import AdamW

from repre_mm.datasets import ImageFolder
from repre_mm.distributed.processes import DistributedDataParallel
from repre_mm.engine.checks import ConfigError, config_faults, data_faults, raise_faults
from repre_mm.engine.checks.names import name_faults
from repre_mm.engine.checks.signatures import arguments_of
from repre_mm.engine.checks.widths import build_without_memory
from repre_mm.models.backbones import TimmBackbone

ROOT = Path(__file__).parents[2]
TINY = ROOT / 'tests/fixtures/tiny_config.py'
ALL = sorted(path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts)
# What a config with RePre wraps is all that its plain pair has (tests/test_configs.py).
PAIRED = {path.with_name(path.name.removeprefix('repre_')) for path in ALL if path.name.startswith('repre_')}


def tiny(**options) -> Config:
    cfg = Config.fromfile(TINY)
    cfg.merge_from_dict(options)
    return cfg


LARGE = [path for path in ALL if path in PAIRED or 'base' in path.name]


@pytest.mark.parametrize('path', LARGE, ids=lambda path: path.stem)
def test_no_false_alarms_of_names(path):
    assert list(name_faults(Config.fromfile(path))) == []


@pytest.mark.parametrize(
    'path',
    [pytest.param(path, marks=pytest.mark.slow if path in LARGE else ()) for path in ALL],
    ids=lambda path: path.stem,
)
def test_no_false_alarms(path):
    assert config_faults(Config.fromfile(path)) == []


STOCK = {
    'mmpretrain': 'mocov3 byol simclr simsiam mocov2 barlowtwins mae simmim beit resnet swin_transformer deit lenet',
    'mmdet': 'mask_rcnn retinanet faster_rcnn swin deformable_detr yolox cascade_rcnn',
    'mmseg': 'fcn setr upernet segformer deeplabv3plus swin mask2former',
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ('package', 'family'), [(package, family) for package, names in STOCK.items() for family in names.split()]
)
def test_no_false_alarms_of_other_projects_configs(package, family):
    folder = Path(importlib.util.find_spec(package).origin).parent / '.mim/configs' / family
    found = (Config.fromfile(path) for path in sorted(folder.glob('*.py')))
    assert config_faults(next(cfg for cfg in found if cfg.get('train_cfg'))) == []


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
    faults = '\n'.join(config_faults(tiny(**wrong)))
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
        "custom_keys['loss_weighting'].lr_mul: nothing reads it; did you mean lr_mult?",
        'param_scheduler.0.begn: CosineAnnealingLR takes no such argument; did you mean begin',
        "momentum.type: 'MomentumUpdateHook' is not a registered hook; did you mean repre_mm.MomentumUpdateHook?",
        'train_cfg.max_epoch: EpochBasedTrainLoop takes no such argument; did you mean max_epochs',
    ):
        assert line in faults
    assert faults.count('\n') == len(wrong) - 1


def test_all_values_in_one_list():
    wrong = {
        'model.algorithm.neck.in_channels': 48,
        'model.algorithm.head.predictor.in_channels': 17,
        'train_dataloader.dataset.pipeline.1.transforms.0.0.scale': 36,
        'optim_wrapper.optimizer.lr': -1.0,
        'param_scheduler.0.begin': 9,
    }
    faults = '\n'.join(config_faults(tiny(**wrong)))
    for line in (
        'model.algorithm.neck.in_channels=48: model.algorithm.backbone gives 32 channels; set it to 32',
        'model.algorithm.head.predictor.in_channels=17: model.algorithm.neck gives 16 channels; set it to 16',
        'a crop of 36 x 36 pixels is not divisible by the patch of 8 x 8: choose a crop of 32 x 32',
        'optim_wrapper.optimizer: AdamW: Invalid learning rate: -1.0',
    ):
        assert line in faults
    assert faults.count('\n') == 3  # where the optimizer cannot be built, its schedules are not judged
    (fault,) = config_faults(tiny(**{'param_scheduler.0.begin': 9}))
    assert fault == 'param_scheduler.0.end=4: must be above begin=9'


@pytest.mark.parametrize(
    ('head', 'expected'),
    [({}, []), ({'predictor.out_channels': 8}, ['model.algorithm.head.predictor.out_channels=8: ', 'gives 16'])],
)
def test_predictor(head, expected):
    faults = config_faults(tiny(**{f'model.algorithm.head.{key}': value for key, value in head.items()}))
    assert len(faults) == bool(expected)
    assert all(part in faults[0] for part in expected)


@pytest.mark.parametrize(
    ('options', 'fault'),
    [
        ({'model.decoder': dict(patch_size=4)}, 'it draws 16 x 16 pixels of a view of 32 x 32'),
        ({'model.decoder': dict(in_channels=[8] * 4)}, 'model.decoder.in_channels=[8, 8, 8, 8]: the levels have [16'),
        ({'model.neck.in_channels': [8] * 4}, 'model.neck.in_channels=[8, 8, 8, 8]: the levels have [32, 32, 32, 32]'),
        ({'model.neck.num_levels': 9}, 'model: RePreNeck: num_levels=9 levels cannot be sampled'),
    ],
)
def test_the_branch(options, fault):
    (found,) = config_faults(tiny(**options))
    assert fault in found


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


def test_data(tmp_path, monkeypatch):
    images = make_image_folder(tmp_path / 'images', train=12)
    cfg = tiny(**{'train_dataloader.dataset.root': str(images), 'work_dir': str(tmp_path / 'run')})
    cfg.train_dataloader.update(drop_last=True, batch_size=12)
    assert data_faults(cfg) == []
    cfg.train_dataloader.batch_size = 13
    (fault,) = data_faults(cfg)
    assert f'{images}/train has 12 images, and drop_last=True leaves no batch of them; lower it to 12 at most' in fault
    cfg.train_dataloader.batch_size = 7
    assert data_faults(cfg) == []
    monkeypatch.setenv('WORLD_SIZE', '2')
    (fault,) = data_faults(cfg)
    assert 'batch_size=7 on 2 processes' in fault
    for path in sorted((images / 'train/dark').iterdir())[:2]:
        path.write_bytes(b'')
    cfg.load_from = str(tmp_path / 'none.pth')
    cfg.work_dir = str(images / 'train/dark/0.jpg')
    faults = '\n'.join(data_faults(cfg))
    assert 'is a file; choose another folder with --work-dir' in faults
    assert f'load_from: there is no checkpoint {tmp_path}/none.pth' in faults
    assert f'2 of 12 images under {images}/train cannot be read, more than max_bad_share=0.1' in faults
    assert not (tmp_path / 'run').exists()


def test_the_check_allocates_nothing_and_draws_nothing():
    cfg = Config.fromfile(ROOT / 'configs/pretrain/mocov3/repre_mocov3_vit-small-p16_8xb512-amp-coslr-300e_in1k.py')
    before = torch.get_rng_state()
    model = build_without_memory(cfg)
    assert {parameter.device.type for parameter in model.parameters()} == {'meta'}
    assert torch.equal(torch.get_rng_state(), before)


def test_one_error_for_all():
    with pytest.raises(ConfigError, match=r'\A2 things are wrong with a\.py:\n  x: y\n  z: w\Z'):
        raise_faults('a.py', ['x: y', 'z: w'])
    with pytest.raises(ConfigError, match=r'\Aa\.py: x: y\Z'):
        raise_faults('a.py', ['x: y'])
    raise_faults('a.py', [])


class Parent:
    def __init__(self, width: int, depth: int = 2) -> None:
        pass


class Child(Parent):
    def __init__(self, name: str, **kwargs) -> None:
        kwargs.setdefault('depth', 3)
        self.option = kwargs.pop('option', None)
        super().__init__(**kwargs)


class Giver(Parent):
    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, width=3, **kwargs)


class Keeper(Parent):
    def __init__(self, **kwargs) -> None:
        self.rest = dict(kwargs)
        super().__init__(1)


def test_arguments_are_followed_to_where_they_end():
    assert set(arguments_of(Child).defaults) == {'name', 'option', 'width', 'depth'}
    assert arguments_of(Child).required == {'name', 'width'}
    assert not arguments_of(Child).is_open
    assert set(arguments_of(Giver).defaults) == {'width', 'depth'}
    assert arguments_of(Giver).required == set()
    assert arguments_of(Keeper).is_open
    assert arguments_of(TimmBackbone).is_open  # it hands them to timm
    assert {'gradient_as_bucket_view', 'device_ids'} <= set(arguments_of(DistributedDataParallel).defaults)
    for closed in (AdamW, SwinTransformer, VisionTransformer, ImageFolder):
        assert not arguments_of(closed).is_open
        assert 'nonsense' not in arguments_of(closed).defaults
