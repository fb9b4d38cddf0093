"""What the command line says of data, classes and sizes is written into the config, or refused."""

import json
from pathlib import Path

import pytest
from fixtures.transfer import DETECTION, SEGMENTATION, make_scenes, transfer_config
from mmengine.config import Config

from repre_mm.datasets.listing import DatasetError
from repre_mm.transfer.settings import set_up_transfer
from repre_mm.utils.errors import UserError


@pytest.fixture(scope='module')
def scenes(tmp_path_factory) -> Path:
    return make_scenes(tmp_path_factory.mktemp('scenes'))


def test_some_of_the_categories(scenes, tmp_path):
    cfg = transfer_config(DETECTION, scenes, tmp_path / 'run')
    set_up_transfer(cfg, classes=['truck', 'bird'])
    assert cfg.train_dataloader.dataset.metainfo.classes == ['bird', 'truck']  # in the order of the file
    assert cfg.model.roi_head.bbox_head.num_classes == 2
    with pytest.raises(DatasetError, match='--classes dragon: no such category'):
        set_up_transfer(cfg, classes=['dragon'])


def test_data_described_in_the_config(scenes, tmp_path):
    """Categories, and a validation set elsewhere, in the lines that mmdet has for them; in a wrapper too."""
    other = tmp_path / 'other.json'
    cfg = Config.fromfile(DETECTION)
    for loader in ('train', 'val'):
        dataset = cfg[f'{loader}_dataloader'].dataset
        dataset.data_root = str(scenes / 'coco')
        dataset.metainfo = dict(classes=('truck', 'bird'))
    other.write_text((scenes / 'coco' / cfg.val_dataloader.dataset.ann_file).read_text())
    cfg.val_dataloader.dataset.ann_file = str(other)
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset)
    set_up_transfer(cfg)
    assert cfg.train_dataloader.dataset.dataset.metainfo.classes == ['bird', 'truck']
    assert cfg.model.roi_head.mask_head.num_classes == 2
    assert cfg.val_evaluator.ann_file == str(other)
    cfg.val_dataloader.dataset.metainfo.classes = cfg.train_dataloader.dataset.dataset.metainfo.classes = ['dragon']
    with pytest.raises(DatasetError, match=r'metainfo\.classes dragon: no such category'):
        set_up_transfer(cfg)


def test_categories_that_differ_between_the_splits(scenes, tmp_path):
    cfg = transfer_config(DETECTION, scenes, tmp_path / 'run')
    content = json.loads(Path(cfg.val_dataloader.dataset.ann_file).read_text())
    content['categories'].reverse()
    other = tmp_path / 'val.json'
    other.write_text(json.dumps(content))
    cfg.val_dataloader.dataset.ann_file = str(other)
    with pytest.raises(DatasetError, match='differ, in their order: labels would not mean the same'):
        set_up_transfer(cfg)


def test_image_size(scenes, tmp_path):
    cfg = transfer_config(DETECTION, scenes, tmp_path / 'det')
    set_up_transfer(cfg, image_size=[96, 160])
    scales = [step.scale for step in cfg.train_dataloader.dataset.pipeline if step.type == 'Resize']
    assert scales == [(160, 96)]
    cfg = transfer_config(SEGMENTATION, scenes, tmp_path / 'seg')
    set_up_transfer(cfg, image_size=[64])
    assert (cfg.model.data_preprocessor.size, cfg.model.backbone.img_size) == ((64, 64), (64, 64))
    assert [step.crop_size for step in cfg.train_dataloader.dataset.pipeline if 'crop_size' in step] == [(64, 64)]
    with pytest.raises(ValueError, match='must be multiples of the patch size, 8'):
        set_up_transfer(cfg, image_size=[60])


def test_missing_data_ends_before_anything_is_built(tmp_path):
    with pytest.raises(DatasetError, match=r'/coco does not exist. Name yours with --data'):
        transfer_config(DETECTION, tmp_path, tmp_path / 'run')
    with pytest.raises(DatasetError, match=r'/cityscapes does not exist. Name yours with --data'):
        transfer_config(SEGMENTATION, tmp_path, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_one_size_is_no_answer_to_several(scenes, tmp_path):
    path = Path(__file__).parents[2] / 'configs/transfer/coco/mask-rcnn_swin-tiny_fpn_8xb2-ms-crop-1x_coco.py'
    with pytest.raises(UserError, match=r'--image-size: .*ms-crop-1x_coco\.py draws from several sizes'):
        set_up_transfer(Config.fromfile(path), str(scenes / 'coco'), image_size=[96])
