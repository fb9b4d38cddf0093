"""Data sets of parts opened by the name of their layout."""

import pytest
from fixtures.parts import make_ade20k, make_coco, make_cub, make_part_imagenet, make_pascal_part

from repre_mm.studies.parts.layouts import open_coco, open_layout, read_part_imagenet
from repre_mm.utils.errors import UserError

MAKERS = {'cub': make_cub, 'pascal-part': make_pascal_part, 'partimagenet': make_part_imagenet, 'ade20k': make_ade20k}


@pytest.mark.parametrize('layout', MAKERS)
def test_every_layout_gives_both_splits_with_the_same_classes(layout, tmp_path):
    (train, val), scales = open_layout(f'{layout}:{MAKERS[layout](tmp_path)}')
    assert train.parts == val.parts and train.objects == val.objects and len(train.objects) == 2
    assert set(train.paths).isdisjoint(val.paths) and train.paths and val.paths
    assert scales.crop == (480 if layout == 'pascal-part' else 512)
    assert all(path.is_file() for path in train.paths + val.paths)


def test_splits_of_partimagenet_have_all_classes_though_one_lacks_masks(tmp_path):
    train, val = read_part_imagenet(make_part_imagenet(tmp_path))
    assert train.parts == val.parts == ('Car red', 'Car green', 'House blue', 'House green')
    assert train.objects == val.objects == ('Car', 'House')
    assert len(train.paths) == 4 and len(val.paths) == 1
    assert {region.object for regions in val.regions for region in regions} == {1}


def test_coco_files_are_opened_with_their_images(tmp_path):
    for split, count in (('train', 4), ('val', 2)):
        make_coco(tmp_path / split, count, seed=0)
    pairs = [(tmp_path / split / 'parts.json', tmp_path / split / 'images') for split in ('train', 'val')]
    (train, val), _ = open_coco(*pairs)
    assert (len(train.paths), len(val.paths)) == (4, 2)


@pytest.mark.parametrize('text', ['cub', 'cub:', 'birds:DIR', ':DIR'])
def test_unknown_layouts_are_refused(text):
    with pytest.raises(UserError, match='is not of the form LAYOUT:DIR, with LAYOUT one of cub, pascal-part'):
        open_layout(text)
