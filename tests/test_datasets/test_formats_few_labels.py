"""The share of each class that few-label training gets."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from repre_mm.datasets import DatasetError, ImageFolder
from repre_mm.datasets.formats.few_labels import StratifiedSubset

COUNTS = {'a': 30, 'b': 20, 'c': 4}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp('classes')
    for name, count in COUNTS.items():
        (root / name).mkdir()
        for index in range(count):
            Image.new('RGB', (4, 4)).save(root / name / f'{index}.png')
    return root


def _paths(root, **options) -> list[str]:
    subset = StratifiedSubset({'type': 'repre_mm.ImageFolder', 'root': str(root), 'labels': True}, **options)
    return [subset[index]['img_path'] for index in range(len(subset))]


def test_same_share_of_every_class_and_one_at_least(root):
    assert Counter(path.split('/')[-2] for path in _paths(root, share=0.1)) == {'a': 3, 'b': 2, 'c': 1}
    assert len(set(_paths(root, share=1.0))) == 54


def test_the_seed_decides(root):
    assert _paths(root, share=0.5) == _paths(root, share=0.5, seed=0) != _paths(root, share=0.5, seed=1)


def test_classes_are_those_of_the_whole(root):
    subset = StratifiedSubset(ImageFolder(root, labels=True), share=0.1)
    assert subset.metainfo['classes'] == ('a', 'b', 'c')


def test_damaged_files_are_replaced_from_the_subset_alone(tmp_path):
    for name in 'ab':
        (tmp_path / name).mkdir()
        for index in range(50):
            Image.new('RGB', (4, 4)).save(tmp_path / name / f'{index}.png')
    folder = dict(root=tmp_path, labels=True, pipeline=[{'type': 'repre_mm.LoadImage'}], max_bad_share=0.6)
    chosen = {item['img_path'] for item in StratifiedSubset(ImageFolder(**folder), share=0.1)}
    damaged = sorted(chosen)[::2]
    for path in damaged:
        Path(path).write_text('no image')
    whole = ImageFolder(**folder)
    subset = StratifiedSubset(whole, share=0.1)
    read = [subset[index]['img_path'] for index in range(len(subset))]
    assert len(read) == 10 and set(read) <= chosen - set(damaged)
    assert len(whole) == 100  # the folder that was given stays whole


def test_damaged_files_are_counted_within_the_subset(tmp_path):
    (tmp_path / 'a').mkdir()
    for index in range(40):
        (tmp_path / f'a/{index}.png').write_text('no image')
    folder = dict(root=tmp_path, labels=True, pipeline=[{'type': 'repre_mm.LoadImage'}])
    with pytest.raises(DatasetError, match='4 of 4 images read'):
        StratifiedSubset(ImageFolder(**folder), share=0.1)[0]


def test_bad_input(root):
    with pytest.raises(DatasetError, match='share=10'):
        StratifiedSubset(ImageFolder(root, labels=True), share=10)
    with pytest.raises(DatasetError, match='no labels'):
        StratifiedSubset(ImageFolder(root, labels=False), share=0.1)
