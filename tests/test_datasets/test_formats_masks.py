"""Folders of images and masks: pairs, splits, void."""

from pathlib import Path

import numpy as np
import pytest
from fixtures.masks import write_pairs
from mmengine.registry import DATASETS, DefaultScope

from repre_mm.datasets.formats.masks import HELD_OUT, MaskFolder, find_classes, find_pairs, locate_split
from repre_mm.datasets.listing import DatasetError


def names(pairs):
    return [(Path(image).name, Path(mask).name) for image, mask in pairs]


def test_any_pair_of_folders(tmp_path, suffix='_mask'):
    for split in ('train', 'val', 'test'):
        write_pairs(
            tmp_path / f'images/{split}/a', tmp_path / f'labels/{split}/a', [0, 1], extension='.JPG', suffix=suffix
        )
    write_pairs(tmp_path / 'images/train', tmp_path / 'labels/train', [2], start=9, suffix=suffix)
    for split, count in (('train', 3), ('val', 2), ('test', 2)):
        folder = MaskFolder(**locate_split(tmp_path / 'images', tmp_path / 'labels', split))
        assert len(folder) == count
        for info in folder:
            image, mask = Path(info['img_path']), Path(info['seg_map_path'])
            assert image.relative_to(tmp_path / 'images').with_suffix('') == Path(
                str(mask.relative_to(tmp_path / 'labels').with_suffix('')).removesuffix(suffix)
            )
    with pytest.raises(DatasetError, match='images/holiday does not exist'):
        locate_split(tmp_path / 'images', tmp_path / 'labels', 'holiday')


def test_splits_named_in_their_own_way(tmp_path):
    """SegNet's CamVid has ``train`` beside ``trainannot``."""
    for split in ('train', 'val'):
        write_pairs(tmp_path / split, tmp_path / f'{split}annot', [0])
    found = locate_split(tmp_path / '{split}', str(tmp_path / '{split}annot'), 'val')['data_prefix']
    assert found == {'img_path': f'{tmp_path}/val', 'seg_map_path': f'{tmp_path}/valannot'}


def test_one_folder_is_split(tmp_path):
    write_pairs(tmp_path / 'i', tmp_path / 'm', range(2 * HELD_OUT + 1))
    train, val = (MaskFolder(**locate_split(tmp_path / 'i', tmp_path / 'm', split)) for split in ('train', 'val'))
    assert (len(train), len(val)) == (18, 3)
    assert not {info['img_path'] for info in train} & {info['img_path'] for info in val}
    with pytest.raises(DatasetError, match=r'there is no folder .*/i/test'):
        locate_split(tmp_path / 'i', tmp_path / 'm', 'test')


def test_cityscapes_layout(tmp_path, suffix='.jpg'):
    write_pairs(
        tmp_path / 'leftImg8bit/train/town',
        tmp_path / 'gtFine/train/town',
        [0, 4],
        extension=suffix,
        image_suffix='_leftImg8bit',
        suffix='_gtFine_labelTrainIds',
    )
    write_pairs(tmp_path / 'other', tmp_path / 'gtFine/train/town', [9, 9], suffix='_gtFine_labelIds')
    folder = MaskFolder(**locate_split(tmp_path, None, 'train'))
    assert names((info['img_path'], info['seg_map_path']) for info in folder) == [
        (f'{i}_leftImg8bit{suffix}', f'{i}_gtFine_labelTrainIds.png') for i in range(2)
    ]
    with pytest.raises(DatasetError, match=r'folder .*/leftImg8bit/val does not exist. .* --masks DIR'):
        locate_split(tmp_path, None, 'val')


def test_what_does_not_pair_is_named(tmp_path):
    images, masks = tmp_path / 'i', tmp_path / 'm'
    write_pairs(images, masks, [0, 1, 2])
    (masks / '1.png').unlink()
    with pytest.raises(DatasetError, match=rf'1 of 3 images have no mask; the first is {images}/1.png.*{masks}/1.png'):
        find_pairs(images, masks)
    write_pairs(images, tmp_path / 'other', [0], extension='.jpg')
    with pytest.raises(DatasetError, match=rf'{images}/0.jpg and {images}/0.png have one name'):
        find_pairs(images, masks)
    with pytest.raises(DatasetError, match='holds images and masks: move the masks'):
        locate_split(images, images, 'train')
    write_pairs(tmp_path / 'elsewhere', tmp_path / 'strangers', [0], start=77)
    with pytest.raises(DatasetError, match=rf'{images}/0 has no mask in {tmp_path}/strangers, where the first is 77'):
        locate_split(images, tmp_path / 'strangers', 'train')


@pytest.mark.parametrize(
    ('ignored', 'expected'), [(255, [0, 1, 2, 3, 255]), (3, [0, 1, 2, 255, 255]), (0, [255, 0, 1, 2, 255])]
)
def test_void_as_mmsegs_own_step_reads_it(tmp_path, ignored, expected):
    write_pairs(tmp_path / 'i', tmp_path / 'm', [[0, 1, 2, 3, 255]])
    classes = ['a', 'b', 'c', 'd'][: 4 if ignored == 255 else 3]
    prefix = dict(img_path=f'{tmp_path}/i', seg_map_path=f'{tmp_path}/m')
    with DefaultScope.overwrite_default_scope('mmseg'):
        folder = DATASETS.build(
            dict(
                type='repre_mm.MaskFolder',
                data_prefix=prefix,
                ignore_label=ignored,
                metainfo={'classes': classes},
                pipeline=[dict(type='LoadAnnotations')],
            )
        )
    np.testing.assert_array_equal(folder[0]['gt_seg_map'][0, :5], expected)


def test_classes_from_the_user_or_a_file(tmp_path):
    assert find_classes(tmp_path) == []
    (tmp_path / 'classes.txt').write_text('sky\nroad\n\n')
    assert find_classes(tmp_path) == ['sky', 'road']
    assert find_classes(tmp_path, ['3']) == ['class 0', 'class 1', 'class 2']
    assert find_classes(tmp_path, ['x', 'y']) == ['x', 'y']
    assert find_classes('', [str(tmp_path / 'classes.txt')]) == ['sky', 'road']


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (['names.txt'], r'names\.txt cannot be read \(No such file or directory\): name another with --classes'),
        (['x', 'y', 'x'], r'must name one class at least, and none twice: x y x'),
        (['0'], 'must name one class at least'),
    ],
)
def test_bad_classes(tmp_path, given, message):
    with pytest.raises(DatasetError, match=message):
        find_classes(tmp_path, given)
