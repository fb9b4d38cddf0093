"""The share of each class that few-label training gets."""

from collections import Counter

import pytest
from PIL import Image

from repre_mm.datasets import DatasetError, ImageFolder
from repre_mm.datasets.few_labels import StratifiedSubset

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


def test_bad_input(root):
    with pytest.raises(DatasetError, match='share=10'):
        StratifiedSubset(ImageFolder(root, labels=True), share=10)
    with pytest.raises(DatasetError, match='no labels'):
        StratifiedSubset(ImageFolder(root, labels=False), share=0.1)
