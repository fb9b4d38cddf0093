"""All faults of a config are reported at once, and none in a valid one."""

import importlib.util
from pathlib import Path

import pytest
from fixtures.stack import needs
from fixtures.tiny import tiny_config
from mmengine.config import Config

from repre_mm.engine.checks import ConfigError, config_faults, raise_faults
from repre_mm.utils.configs import is_transfer

ROOT = Path(__file__).parents[2]
ALL = sorted(path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts)
# The others have the same parts, at full size.
FAST = [path for path in ALL if {'toy', 'transfer', 'finetune'} & {*path.parts}]


def read(path: Path) -> Config:
    cfg = Config.fromfile(path)
    if is_transfer(cfg):
        needs(cfg.default_scope)
    return cfg


@pytest.mark.parametrize(
    'path',
    [pytest.param(path, marks=() if path in FAST else pytest.mark.slow) for path in ALL],
    ids=lambda path: path.stem,
)
def test_no_false_alarms(path):
    assert config_faults(read(path)) == []


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


def test_values_and_sizes_are_in_one_list():
    wrong = {
        'model.algorithm.neck.in_channels': 48,
        'train_dataloader.dataset.pipeline.1.transforms.0.0.scale': 36,
        'optim_wrapper.optimizer.lr': -1.0,
        'param_scheduler.0.begin': 9,
    }
    faults = config_faults(tiny_config(**wrong))
    assert [fault.split(': ')[0].split('=')[0] for fault in faults] == [
        'optim_wrapper.optimizer',
        'param_scheduler.0.end',
        'model fails (the input of 36 x 36 pixels is not divisible by the patch of 8 x 8',
    ]


def test_one_error_for_all():
    with pytest.raises(ConfigError, match=r'\A2 faults in a\.py:\n  x: y\n  z: w\Z'):
        raise_faults('a.py', ['x: y', 'z: w'])
    with pytest.raises(ConfigError, match=r'\Aa\.py: x: y\Z'):
        raise_faults('a.py', ['x: y'])
    raise_faults('a.py', [])
