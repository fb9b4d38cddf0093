"""Detection data: COCO's format with --data, or mmdet's data sets in a config."""

import json
import re
from pathlib import Path

import pytest
from fixtures.transfer import DETECTION, make_scenes, transfer_config
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


def test_what_is_there_is_counted(scenes, tmp_path):
    cfg = Config.fromfile(DETECTION)
    lines = set_up_transfer(cfg, str(scenes / 'coco'))
    assert lines[0] == 'found 2 images for train, 4 images for val; objects of each class:'
    content = json.loads((scenes / 'coco/annotations/instances_val2017.json').read_text())
    birds = sum(one['category_id'] == 1 for one in content['annotations'])
    assert lines[2].split()[0] == content['categories'][0]['name'] == 'bird'
    assert int(re.findall(r'(\d+) \(', lines[2])[1]) == birds


def test_another_split(scenes, tmp_path):
    data = tmp_path / 'coco'
    (data / 'annotations').mkdir(parents=True)
    (data / 'test').symlink_to(scenes / 'coco/val2017')
    content = (scenes / 'coco/annotations/instances_val2017.json').read_text()
    (data / 'annotations/mine_test.json').write_text(content)
    cfg = Config.fromfile(DETECTION)
    set_up_transfer(cfg, str(data), loaders=('test',), test_split='test')
    assert cfg.test_dataloader.dataset.ann_file == cfg.test_evaluator.ann_file == f'{data}/annotations/mine_test.json'


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


VOC = """<annotation><size><width>8</width><height>8</height></size>
<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>6</ymax></bndbox></object></annotation>
"""


def test_data_sets_of_mmdet_without_a_json(tmp_path):
    for folder in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (tmp_path / 'VOC2007' / folder).mkdir(parents=True)
    (tmp_path / 'VOC2007/ImageSets/Main/all.txt').write_text('a\n')
    (tmp_path / 'VOC2007/Annotations/a.xml').write_text(VOC)
    cfg = Config.fromfile(DETECTION)
    for loader in ('train', 'val'):
        cfg[f'{loader}_dataloader'].dataset = dict(
            type='VOCDataset',
            data_root=str(tmp_path),
            ann_file='VOC2007/ImageSets/Main/all.txt',
            data_prefix=dict(sub_data_root='VOC2007/'),
            metainfo=dict(classes=('cat', 'dog')),
            pipeline=[],
        )
    lines = set_up_transfer(cfg)
    assert cfg.model.roi_head.bbox_head.num_classes == 2
    assert lines[2].split() == ['cat', '1', '(100.0%)', '1', '(100.0%)']
    assert lines[-1] == 'no object for val of: dog'


def test_images_that_are_not_there_are_said(scenes, tmp_path):
    cfg = transfer_config(DETECTION, scenes, tmp_path / 'run')
    content = json.loads(Path(cfg.val_dataloader.dataset.ann_file).read_text())
    content['images'][-1]['file_name'] = 'lost.jpg'
    (tmp_path / 'val.json').write_text(json.dumps(content))
    cfg.val_dataloader.dataset.ann_file = str(tmp_path / 'val.json')
    said = set_up_transfer(cfg)
    assert said[0] == f'1 images of {tmp_path}/val.json are not in {scenes}/coco/val2017, such as lost.jpg'


def test_categories_that_differ_between_the_splits(scenes, tmp_path):
    cfg = transfer_config(DETECTION, scenes, tmp_path / 'run')
    content = json.loads(Path(cfg.val_dataloader.dataset.ann_file).read_text())
    content['categories'].reverse()
    other = tmp_path / 'val.json'
    other.write_text(json.dumps(content))
    cfg.val_dataloader.dataset.ann_file = str(other)
    with pytest.raises(DatasetError, match='or the same in another order: labels would not mean the same'):
        set_up_transfer(cfg)


def test_options_of_segmentation(scenes):
    with pytest.raises(UserError, match='--masks and --ignore-label are for segmentation only'):
        set_up_transfer(Config.fromfile(DETECTION), str(scenes / 'coco'), masks='masks')
