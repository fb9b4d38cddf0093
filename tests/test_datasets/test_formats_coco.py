"""Finding and checking data sets in COCO's format."""

import json
from pathlib import Path

import pytest
from PIL import Image

from repre_mm.datasets.formats.coco import find_coco_split, read_coco_split
from repre_mm.datasets.listing import DatasetError

CATEGORIES = [{'id': 7, 'name': 'zebra'}, {'id': 3, 'name': 'ant'}]


def write(root: Path, ann: str = 'annotations/instances_train2017.json', folder: str = 'train2017', **content) -> Path:
    path = root / ann
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {'images': [{'id': 1, 'file_name': 'a.jpg'}], 'annotations': [], 'categories': CATEGORIES, **content}
    path.write_text(json.dumps(content))
    if folder:
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (8, 8)).save(root / folder / 'a.jpg')
    return path


@pytest.mark.parametrize(
    ('ann', 'folder'),
    [
        ('annotations/instances_train2017.json', 'train2017'),
        ('annotations/parts_train.json', 'train'),
        ('train.json', 'images/train'),
        ('annotations/train.json', 'images'),
    ],
)
def test_usual_layouts_are_found(tmp_path, ann, folder):
    write(tmp_path, ann, folder)
    split = find_coco_split(tmp_path, 'train')
    assert (split.ann_file, split.folder, split.images) == (tmp_path / ann, tmp_path / folder, ['a.jpg'])
    assert list(split.categories.items()) == [(7, 'zebra'), (3, 'ant')]  # in the order of the file


def test_objects_are_counted_and_have_a_category(tmp_path):
    objects = [{'id': i, 'image_id': 1, 'category_id': c, 'bbox': [0, 0, 1, 1]} for i, c in enumerate((7, 3, 7))]
    write(tmp_path, annotations=objects)
    assert find_coco_split(tmp_path, 'train').objects == {7: 2, 3: 1}
    write(tmp_path, annotations=[*objects, {'category_id': 99}])
    with pytest.raises(DatasetError, match=r'has objects of category 99, which "categories" lacks'):
        find_coco_split(tmp_path, 'train')


def test_what_is_missing_or_not_clear_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r'the data folder .*/nowhere does not exist. Name yours with --data'):
        find_coco_split(tmp_path / 'nowhere', 'train')
    with pytest.raises(DatasetError, match=r'one annotation file for train, annotations/\*train\*.json; found: none'):
        find_coco_split(tmp_path, 'train')
    with pytest.raises(DatasetError, match=r'none\.json cannot be read: No such file'):
        read_coco_split(tmp_path / 'none.json', [tmp_path])
    for name in ('a_train.json', 'b_train.json'):
        write(tmp_path, f'annotations/{name}', folder='')
    with pytest.raises(DatasetError, match=r'found: annotations/a_train.json, annotations/b_train.json'):
        find_coco_split(tmp_path, 'train')
    write(tmp_path, folder='')
    with pytest.raises(DatasetError, match=rf'names the image a.jpg, which is not in {tmp_path}/train2017 or '):
        find_coco_split(tmp_path, 'train')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'is cut short, or no annotation file'),
        ('{"images": [{"file_name": "a.jpg"}], "annotations": [', 'is cut short, or no annotation file'),
        ('[1, 2]', 'no annotation file in COCO format'),
        ('{"images": [{"file_name": "a.jpg"}], "annotations": []}', "KeyError: 'categories'"),
        ('{"images": [], "annotations": [], "categories": []}', 'IndexError'),
    ],
)
def test_bad_annotation_files(tmp_path, text, message):
    path = tmp_path / 'instances.json'
    path.write_text(text)
    with pytest.raises(DatasetError, match=rf'{path} .*{message}'):
        read_coco_split(path, [tmp_path])


@pytest.mark.parametrize('categories', [[], [(1, 'a'), (2, 'a')], [(1, 'a'), (1, 'b')]])
def test_categories_are_named_once(tmp_path, categories):
    write(tmp_path, categories=[{'id': number, 'name': name} for number, name in categories])
    with pytest.raises(DatasetError, match='must list a category at least, and no id or name of them twice'):
        find_coco_split(tmp_path, 'train')
