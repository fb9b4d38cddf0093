"""Finding and checking data sets in COCO's format."""

import json
from pathlib import Path

import pytest
from PIL import Image

from repre_mm.datasets.formats import coco
from repre_mm.datasets.formats.coco import check_coco_split, count_objects, find_coco_split, read_categories
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
    assert (split.ann_file, split.images) == (tmp_path / ann, tmp_path / folder)
    assert check_coco_split(split) == {7: 'zebra', 3: 'ant'}


def test_categories_keep_the_order_of_the_file_wherever_they_stand(tmp_path, monkeypatch):
    monkeypatch.setattr(coco, '_FIRST_CHUNK', 8)  # so that the list spans several chunks
    write(tmp_path, info={'note': 'the "categories" follow'})
    path = tmp_path / 'annotations/instances_train2017.json'
    assert list(read_categories(path).items()) == [(7, 'zebra'), (3, 'ant')]
    path.write_text(json.dumps({'categories': CATEGORIES, 'images': [{'file_name': 'a.jpg'}]}, indent=2))
    assert list(read_categories(path).items()) == [(7, 'zebra'), (3, 'ant')]


def test_objects_are_counted(tmp_path):
    objects = [{'id': i, 'image_id': 1, 'category_id': c, 'bbox': [0, 0, 1, 1]} for i, c in enumerate((7, 3, 7))]
    write(tmp_path, annotations=objects)
    assert count_objects(tmp_path / 'annotations/instances_train2017.json') == (1, {7: 2, 3: 1})


def test_missing_folder_and_missing_file(tmp_path):
    with pytest.raises(DatasetError, match=r'the data folder .*/nowhere does not exist. Name yours with --data'):
        find_coco_split(tmp_path / 'nowhere', 'train')
    with pytest.raises(
        DatasetError, match=r'one annotation file for train, annotations/instances_train2017.json .*none'
    ):
        find_coco_split(tmp_path, 'train')


def test_several_annotation_files_are_named(tmp_path):
    for name in ('a_train.json', 'b_train.json'):
        write(tmp_path, f'annotations/{name}')
    with pytest.raises(DatasetError, match=r'found: annotations/a_train.json, annotations/b_train.json'):
        find_coco_split(tmp_path, 'train')


def test_images_elsewhere(tmp_path):
    write(tmp_path, folder='')
    with pytest.raises(DatasetError, match=r'names the image a.jpg, which is in none of train2017, train,'):
        find_coco_split(tmp_path, 'train')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'is empty'),
        ('{"images": [{"file_name": "a.jpg"}], "annotations": [', 'has no list of "categories".*cut short'),
        ('{"images": [{"file_name": "a.jpg"}], "categories": [{"id": 1', 'has no list of "categories".*cut short'),
        ('{"categories": ["ant"]}', 'has no list of "categories" with id and name'),
        ('{"categories": []}', 'empty list of categories'),
        ('{"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}', "two categories with the name 'a'"),
        ('{"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', 'two categories with the id 1'),
    ],
)
def test_bad_annotation_files(tmp_path, text, message):
    path = tmp_path / 'instances.json'
    path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_categories(path)
