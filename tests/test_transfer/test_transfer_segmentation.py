"""Segmentation data: own folders with void, or mmseg's data sets in a config; every mask is read."""

from pathlib import Path

import pytest
from fixtures.masks import write_pairs
from fixtures.transfer import SEGMENTATION, TOY
from mmengine.config import Config

from repre_mm.datasets.listing import DatasetError
from repre_mm.transfer.settings import set_up_transfer
from repre_mm.utils.errors import UserError


@pytest.fixture
def cfg():
    return Config.fromfile(SEGMENTATION)


@pytest.fixture
def camvid(tmp_path):
    """Labels 0 to 2 and 3 for void, in ``images`` and ``masks``."""
    for split in ('train', 'val'):
        write_pairs(tmp_path / f'images/{split}', tmp_path / f'masks/{split}', [[0, 1, 2, 3], [0, 0, 1, 3]])
    return dict(data=str(tmp_path / 'images'), masks=str(tmp_path / 'masks'))


def num_classes(cfg):
    return cfg.model.decode_head.num_classes, cfg.model.auxiliary_head.num_classes


def test_a_label_of_void(cfg, camvid):
    lines = set_up_transfer(cfg, **camvid, ignore_label=3)
    assert lines[0].startswith('nothing names the classes: the masks have 3, labels 0 to 2;')
    assert num_classes(cfg) == (3, 3)
    assert lines[1] == 'found 2 images for train, 2 images for val; pixels of each class:'
    # Columns 0 to 9 of eight rows: labels 0, 1, 2, 3, 0, ... and 0, 0, 1, 3, 0, ...
    assert lines[3].split() == ['class', '0', '72', '(45.0%)', '72', '(45.0%)']
    assert lines[6].split() == ['void', '32', '(20.0%)', '32', '(20.0%)']


def test_void_does_not_become_a_class_without_a_word(cfg, camvid):
    lines = set_up_transfer(cfg, **camvid)
    assert num_classes(cfg) == (4, 4)
    assert 'labels 0 to 3;' in lines[0]
    assert lines[1] == 'if one of them is void, add --ignore-label N, for instance 3'


def test_void_of_zero_moves_the_classes_down(cfg, camvid):
    lines = set_up_transfer(cfg, **camvid, ignore_label=0, classes=['a', 'b', 'c'])
    assert [line.split()[:2] for line in lines[2:]] == [['a', '40'], ['b', '16'], ['c', '32'], ['void', '72']]


def test_training_and_test_count_the_same_classes(cfg, camvid, tmp_path):
    write_pairs(tmp_path / 'images/test', tmp_path / 'masks/test', [0])
    set_up_transfer(cfg, **camvid, loaders=('test',), test_split='test')
    assert num_classes(cfg) == (4, 4)
    assert cfg.test_dataloader.dataset.data_prefix.img_path == str(tmp_path / 'images/test')


def test_one_wrong_mask_of_many_is_named(cfg, tmp_path):
    for split in ('train', 'val'):
        write_pairs(tmp_path / f'i/{split}', tmp_path / f'm/{split}', [[0, 1]] * 30)
    write_pairs(tmp_path / 'i/train', tmp_path / 'm/train', [[0, 11]], start=17)
    with pytest.raises(DatasetError, match=r'1 of 30 masks .*/m/train/17.png gives the label 11 on 40 pixels, .* 2 c'):
        set_up_transfer(cfg, str(tmp_path / 'i'), ['a', 'b'], masks=str(tmp_path / 'm'))


def test_classes_without_pixels_are_named(cfg, camvid):
    lines = set_up_transfer(cfg, **camvid, classes=['a', 'b', 'c', 'd', 'e'])
    assert lines[-2:] == ['no pixel for train of: e', 'no pixel for val of: e']


def test_objects_written_as_255_are_no_class(cfg, tmp_path):
    for split in ('train', 'val'):
        write_pairs(tmp_path / f'i/{split}', tmp_path / f'm/{split}', [[0, 255]])
    with pytest.raises(DatasetError, match=r'the labels \[0\] and 255 \(void\) only: nothing to learn'):
        set_up_transfer(cfg, str(tmp_path / 'i'), masks=str(tmp_path / 'm'))


def test_data_sets_of_mmseg_keep_their_type_and_layout(cfg, tmp_path):
    """Neither Cityscapes' folders nor its names of files are asked for."""
    write_pairs(tmp_path / 'photos', tmp_path / 'ann', [[0, 1, 2]] * 2, extension='.bmp', suffix='_seg')
    for loader in ('train', 'val'):
        kept = {key: cfg[f'{loader}_dataloader'].dataset[key] for key in ('pipeline',)}
        cfg[f'{loader}_dataloader'].dataset = dict(
            type='BaseSegDataset',
            data_root=str(tmp_path),
            data_prefix=dict(img_path='photos', seg_map_path='ann'),
            img_suffix='.bmp',
            seg_map_suffix='_seg.png',
            metainfo=dict(classes=('x', 'y', 'z')),
            **kept,
        )
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset)
    lines = set_up_transfer(cfg)
    assert num_classes(cfg) == (3, 3)
    assert lines[0].startswith('found 2 images for train, 2 images for val')
    assert cfg.val_dataloader.dataset.type == 'BaseSegDataset'
    assert cfg.val_dataloader.dataset.img_suffix == '.bmp'

    cfg.val_dataloader.dataset.reduce_zero_label = True  # as ADE20KDataset has it
    lines = set_up_transfer(cfg)
    assert lines[2].split()[1:] == ['64', '(40.0%)', '48', '(30.0%)']
    with pytest.raises(UserError, match=r'--ignore-label 3 must .* goes with --data DIR; for the data sets'):
        set_up_transfer(cfg, ignore_label=3)
    cfg.train_dataloader.dataset.dataset.data_root = str(tmp_path / 'nowhere')
    with pytest.raises(DatasetError, match=r'BaseSegDataset: .*nowhere/photos.*Name your data with --data DIR'):
        set_up_transfer(cfg)


def test_options_that_do_not_fit(cfg, camvid):
    with pytest.raises(UserError, match='--masks DIR goes with --data DIR'):
        set_up_transfer(cfg, masks=camvid['masks'])
    with pytest.raises(UserError, match='--ignore-label 256 must lie in 0 to 255'):
        set_up_transfer(cfg, **camvid, ignore_label=256)
    dataset = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[dataset, dataset])
    with pytest.raises(UserError, match='the config joins several'):
        set_up_transfer(cfg, **camvid)


def test_classes_beside_the_images(cfg, camvid):
    Path(camvid['data'], 'classes.txt').write_text('a\nb\nc\nd\n')
    set_up_transfer(cfg, **camvid)
    assert cfg.test_dataloader.dataset.metainfo.classes == list('abcd')
    assert len(cfg.test_dataloader.dataset.metainfo.palette) == 4
    assert cfg.test_dataloader.dataset.data_prefix == cfg.val_dataloader.dataset.data_prefix


def test_the_cityscapes_recipe_reads_cityscapes(tmp_path):
    cfg = Config.fromfile(
        TOY.parents[1] / 'transfer/cityscapes/setr-naive_vit-small-p16_8xb1-80k_cityscapes-768x768.py'
    )
    for split, city in (('train', 'aachen'), ('val', 'frankfurt')):
        folders = tmp_path / f'leftImg8bit/{split}/{city}', tmp_path / f'gtFine/{split}/{city}'
        write_pairs(*folders, [[0, 18]], image_suffix='_leftImg8bit', suffix='_gtFine_labelTrainIds')
    lines = set_up_transfer(cfg, str(tmp_path))
    assert lines[2].split() == ['road', '40', '(50.0%)', '40', '(50.0%)']
    assert num_classes_of_all(cfg) == {19}
    assert [step.scale for step in cfg.val_dataloader.dataset.pipeline if step.type == 'Resize'] == [(2049, 1025)]
    assert cfg.train_dataloader.dataset.type == 'CityscapesDataset'  # mmseg's own


def num_classes_of_all(cfg):
    return {head.num_classes for head in (cfg.model.decode_head, *cfg.model.auxiliary_head)}
