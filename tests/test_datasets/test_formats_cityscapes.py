"""Finding and checking data sets laid out as Cityscapes, and their classes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repre_mm.datasets.formats.cityscapes import check_labels, find_cityscapes_split, find_classes
from repre_mm.datasets.listing import DatasetError


def write(root: Path, split: str = 'train', suffix: str = '.png', labels: tuple[int, ...] = (0, 4, 255)) -> Path:
    for index, label in enumerate(labels):
        stem = f'town_{index:06d}_000019'
        for folder in ('leftImg8bit', 'gtFine'):
            (root / folder / split / 'town').mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (12, 8)).save(root / 'leftImg8bit' / split / 'town' / f'{stem}_leftImg8bit{suffix}')
        label_map = np.full((8, 12), label, dtype=np.uint8)
        Image.fromarray(label_map).save(root / 'gtFine' / split / 'town' / f'{stem}_gtFine_labelTrainIds.png')
    return root


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_images_and_labels_in_order(tmp_path, suffix):
    split = find_cityscapes_split(write(tmp_path, suffix=suffix), 'train')
    assert split.image_suffix == f'_leftImg8bit{suffix}'
    assert [path.name[:11] for path in split.images] == [path.name[:11] for path in split.labels]
    assert len(split.images) == 3


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(DatasetError, match=r'there is no folder .*/leftImg8bit/train: the data must be laid out'):
        find_cityscapes_split(tmp_path, 'train')
    write(tmp_path)
    (tmp_path / 'gtFine/train/town/town_000001_000019_gtFine_labelTrainIds.png').unlink()
    with pytest.raises(DatasetError, match=r'1 of 3 images have no label map; .*town_000001_000019_gtFine_labelTrain'):
        find_cityscapes_split(tmp_path, 'train')


def test_images_of_two_formats_and_of_none(tmp_path):
    write(write(tmp_path), suffix='.jpg')
    with pytest.raises(DatasetError, match=r'found: both .jpg and .png'):
        find_cityscapes_split(tmp_path, 'train')
    for path in tmp_path.rglob('*leftImg8bit.*'):
        path.unlink()
    with pytest.raises(DatasetError, match=r'found: none'):
        find_cityscapes_split(tmp_path, 'train')


def test_classes_from_the_user_a_file_or_the_labels(tmp_path):
    write(tmp_path, 'train', labels=(0, 4, 255))
    write(tmp_path, 'val', labels=(0, 2, 255))
    assert find_classes(tmp_path) == ([f'class {i}' for i in range(5)], [])
    (tmp_path / 'classes.txt').write_text('sky\nroad\n\n')
    assert find_classes(tmp_path) == (['sky', 'road'], [])
    entries = [{'trainId': 1, 'name': 'b', 'color': [1, 2, 3]}, {'trainId': 0, 'name': 'a', 'color': [4, 5, 6]}]
    (tmp_path / 'classes.json').write_text(json.dumps({'classes': entries}))
    assert find_classes(tmp_path) == (['a', 'b'], [[4, 5, 6], [1, 2, 3]])
    assert find_classes(tmp_path, ['3'])[0] == ['class 0', 'class 1', 'class 2']
    assert find_classes(tmp_path, ['x', 'y'])[0] == ['x', 'y']
    assert find_classes(tmp_path, [str(tmp_path / 'classes.txt')])[0] == ['sky', 'road']
    with pytest.raises(DatasetError, match=r'--classes names.txt: there is no such file'):
        find_classes(tmp_path, ['names.txt'])
    with pytest.raises(DatasetError, match=r'--classes x y x: name none of them twice'):
        find_classes(tmp_path, ['x', 'y', 'x'])


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{', 'is no JSON'),
        ('{"names": []}', 'must hold a list of classes'),
        ('["a", "a"]', 'none of them twice'),
        ('[{"name": "a"}]', 'have "name" and "trainId"'),
        ('[{"name": "a", "trainId": 0}, {"name": "b", "trainId": 2}]', 'trainIds must be 0 to 1'),
    ],
)
def test_bad_files_of_classes(tmp_path, content, message):
    path = tmp_path / 'classes.json'
    path.write_text(content)
    with pytest.raises(DatasetError, match=message):
        find_classes(tmp_path)


def test_labels_beyond_the_classes(tmp_path):
    split = find_cityscapes_split(write(tmp_path), 'train')
    check_labels(split, 5)
    with pytest.raises(DatasetError, match=r'town_000001.* has the label 4, but there are 4 classes \(0 to 3'):
        check_labels(split, 4)


def test_colours_instead_of_labels(tmp_path):
    write(tmp_path)
    path = tmp_path / 'gtFine/train/town/town_000000_000019_gtFine_labelTrainIds.png'
    Image.new('RGB', (12, 8)).save(path)
    with pytest.raises(DatasetError, match='has 3 channels: colours'):
        check_labels(find_cityscapes_split(tmp_path, 'train'), 5)
