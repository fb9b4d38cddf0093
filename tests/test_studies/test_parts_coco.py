"""COCO files of part masks: objects, and files that do not fit their images."""

import json

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torch.testing import assert_close

from repre_mm.datasets import ImageReadError
from repre_mm.studies.parts.coco import read_coco
from repre_mm.studies.parts.data import PartImages, check_pair
from repre_mm.toy_scenes.writers import encode_rle
from repre_mm.utils.errors import UserError

HEIGHT, WIDTH = 40, 80
CATEGORIES = [
    {'id': 7, 'name': 'wheel', 'supercategory': 'car'},
    {'id': 3, 'name': 'body', 'supercategory': 'car'},
    {'id': 9, 'name': 'roof', 'supercategory': 'house'},
]


def rectangle(left, top, right, bottom):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


BODY, WHEEL, ROOF = rectangle(0, 0, 40, 40), rectangle(20, 20, 40, 30), rectangle(60, 0, 80, 40)


@pytest.fixture
def root(tmp_path):
    for name in ('x/a.png', 'y/b.png'):
        (tmp_path / name).parent.mkdir()
        Image.new('RGB', (WIDTH, HEIGHT), (10, 20, 30)).save(tmp_path / name)
    return tmp_path


def write(root, **changes):
    polygon = [[0, 0, 40, 0, 40, 40, 0, 40]]  # BODY
    content = {
        'images': [
            {'id': 1, 'file_name': 'x/a.png', 'width': WIDTH, 'height': HEIGHT},
            {'id': 2, 'file_name': 'y/b.png', 'width': WIDTH, 'height': HEIGHT},
        ],
        'annotations': [
            {'id': 1, 'image_id': 1, 'category_id': 7, 'segmentation': encode_rle(WHEEL)},
            {'id': 2, 'image_id': 1, 'category_id': 3, 'segmentation': polygon},
            {'id': 3, 'image_id': 2, 'category_id': 9, 'segmentation': encode_rle(ROOF)},
            {'id': 4, 'image_id': 2, 'category_id': 9, 'segmentation': encode_rle(ROOF), 'iscrowd': 1},
        ],
        'categories': CATEGORIES,
        **changes,
    }
    path = root / 'parts.json'
    path.write_text(json.dumps(content))
    return path


def test_masks_become_shares_of_cells_and_maps(root):
    annotations = read_coco(write(root), root)
    assert annotations.parts == ('body', 'wheel', 'roof')  # by category id
    assert annotations.objects == ('car', 'house') and annotations.objects_from == "the categories' supercategories"
    item = PartImages(annotations, size=32, grid=(4, 4))[0]  # cells of 10 x 20 pixels
    assert item['image'].shape == (3, 32, 32) and item['image'][:, 5, 5].tolist() == [10, 20, 30]
    assert item['part_labels'].tolist() == [1, 0]
    body = torch.tensor([1.0, 1, 0, 0]).expand(4, 4)
    wheel = torch.zeros(4, 4)
    wheel[2, 1] = 1
    assert_close(item['part_shares'], torch.stack([wheel, body]))
    assert item['object_labels'].tolist() == [0]
    assert_close(item['object_shares'], body[None])
    # The wheel, smaller, lies on the body, whatever the order of the file.
    expected = np.where(WHEEL, 2, np.where(BODY, 1, 0))
    assert item['part_map'].tolist() == expected.tolist()
    assert item['object_map'].tolist() == BODY.astype(int).tolist()


def test_crowds_are_left_out(root):
    assert len(read_coco(write(root), root).regions[1]) == 1


def test_objects_come_from_folders_where_there_is_one_supercategory(root):
    categories = [{**category, 'supercategory': 'thing'} for category in CATEGORIES]
    annotations = read_coco(write(root, categories=categories), root)
    assert annotations.objects == ('x', 'y') and annotations.objects_from == 'the folders of the images'
    assert PartImages(annotations, 32, (4, 4))[1]['object_labels'].tolist() == [1]


def test_one_kind_of_object_is_none_to_tell_apart(root):
    categories = [{**category, 'supercategory': 'thing'} for category in CATEGORIES]
    Image.new('RGB', (WIDTH, HEIGHT)).save(root / 'x/b.png')
    images = [{'id': i, 'file_name': f'x/{n}.png', 'width': WIDTH, 'height': HEIGHT} for i, n in ((1, 'a'), (2, 'b'))]
    annotations = read_coco(write(root, categories=categories, images=images), root)
    assert annotations.objects == ('thing',) and annotations.objects_from is None


def test_annotations_of_other_images_are_named(root):
    path = write(root)
    (root / 'y/b.png').unlink()
    with pytest.raises(UserError, match=r'for other images: 1 of its 2 files are missing: .*y/b\.png'):
        read_coco(path, root)


def test_image_of_another_size_is_refused(root):
    annotations = read_coco(write(root), root)
    Image.new('RGB', (WIDTH // 2, HEIGHT)).save(root / 'x/a.png')
    with pytest.raises(UserError, match=r'x/a\.png is 80 x 40 pixels there, the file is 40 x 40'):
        PartImages(annotations, 32, (4, 4))[0]
    with pytest.raises(UserError, match=r'x/a\.png is 80 x 40 pixels there, the file is 40 x 40'):
        read_coco(write(root), root)  # before any work, too


def test_size_is_that_of_the_upright_image(root):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new('RGB', (HEIGHT, WIDTH)).save(root / 'x/a.png', exif=exif)
    annotations = read_coco(write(root), root)
    assert PartImages(annotations, 32, (4, 4))[0]['part_map'].shape == (HEIGHT, WIDTH)


def test_damaged_image_is_named_before_any_work(root):
    (root / 'y/b.png').write_bytes(b'no image')
    with pytest.raises(ImageReadError, match=r'y/b\.png'):
        read_coco(write(root), root)


def test_class_without_masks_is_named(root):
    categories = [*CATEGORIES, {'id': 11, 'name': 'chimney', 'supercategory': 'house'}]
    with pytest.raises(UserError, match='1 of its 4 part classes have no annotation: chimney'):
        read_coco(write(root, categories=categories), root)


def test_empty_mask_is_named(root):
    nothing = encode_rle(np.zeros((HEIGHT, WIDTH), bool))
    path = write(
        root,
        annotations=[{'id': 5, 'image_id': 1, 'category_id': 3, 'segmentation': nothing}],
        categories=CATEGORIES[1:2],
    )
    with pytest.raises(UserError, match=r'annotation 5 of .* is empty'):
        read_coco(path, root)


@pytest.mark.parametrize(
    ('mask', 'message'),
    [
        (encode_rle(np.ones((10, 20), bool)), r'annotation 5 of x/a\.png in .* has 20 x 10 pixels, its image 80 x 40'),
        ({'size': [HEIGHT, WIDTH]}, 'annotation 5 of .* is neither polygons nor a run-length code'),
        ([[1, 2]], 'annotation 5 of .* is neither polygons nor a run-length code'),
        ('mask.png', 'annotation 5 of .* is neither polygons nor a run-length code'),
    ],
)
def test_unusable_mask_is_named(root, mask, message):
    annotations = [{'id': 5, 'image_id': 1, 'category_id': 3, 'segmentation': mask}]
    with pytest.raises(UserError, match=message):
        read_coco(write(root, annotations=annotations, categories=CATEGORIES[1:2]), root)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'categories': []}, 'not a COCO annotation file: categories missing or empty'),
        ({'annotations': [{'id': 1, 'image_id': 5, 'category_id': 3}]}, 'image 5, which is not in'),
        ({'annotations': [{'id': 1, 'image_id': 1, 'category_id': 5}]}, 'category 5, which is not in'),
        ({'annotations': [{'id': 1, 'image_id': 1, 'category_id': 3}]}, 'annotation 1 has no mask'),
    ],
)
def test_unusable_files_are_refused(root, changes, message):
    with pytest.raises(UserError, match=message):
        read_coco(write(root, **changes), root)


def test_missing_and_broken_files_are_refused(root):
    with pytest.raises(UserError, match=r'no annotation file .*none\.json'):
        read_coco(root / 'none.json', root)
    (root / 'broken.json').write_text('{')
    with pytest.raises(UserError, match='is not a JSON file'):
        read_coco(root / 'broken.json', root)
    with pytest.raises(UserError, match='no folder of images'):
        read_coco(write(root), root / 'none')


def test_both_splits_need_the_same_classes(root):
    train = read_coco(write(root), root)
    renamed = [*CATEGORIES[:2], {**CATEGORIES[2], 'name': 'door'}]
    val = read_coco(write(root, categories=renamed), root)
    check_pair(train, train)
    with pytest.raises(UserError, match=r"different part classes: \['door', 'roof'\]"):
        check_pair(train, val)
