"""Images in every form that the Python API takes."""

import numpy as np
import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.places import WRITERS, paths_under
from PIL import Image

from repre_mm.apis.images import Crops
from repre_mm.utils.errors import UserError


def test_a_batch_is_a_list_of_images():
    assert Crops(torch.zeros(2, 3, 8, 8), 32).names == ('image 0', 'image 1')


@pytest.mark.parametrize('kind', ['folder', 'list', 'tar', 'parquet', 'url'])
def test_every_place_gives_the_same_crops(kind, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr('datasets.config.HF_DATASETS_CACHE', tmp_path / 'cache', raising=False)
    images = make_image_folder(tmp_path / 'data', train=4, val=0) / 'train'
    paths = [images / path for path in paths_under(images)]
    crops, one_by_one = Crops(WRITERS[kind](images, tmp_path / 'copy'), 32), Crops(paths, 32)
    assert len(crops) == 4 and one_by_one.names == tuple(map(str, paths))
    assert all(torch.equal(crops[index][0], one_by_one[index][0]) for index in range(4))


def test_a_range_and_a_limit_of_pixels(tmp_path):
    Image.fromarray(np.full((40, 40), 2000, np.uint16)).save(tmp_path / 'a.tif')
    assert Crops(tmp_path, 32, value_range=(0, 4000))[0][0].unique().tolist() == [128]
    with pytest.raises(UserError, match=r'a\.tif: 40 x 40 = 1,600 pixels, more than the limit of 1,599'):
        Crops(tmp_path / 'a.tif', 32, max_pixels=1599)[0]


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        ([], 'there are no images'),
        ('nowhere.jpg', r'there is no file or folder nowhere\.jpg'),
        ('nowhere', 'no such folder: nowhere'),
        ('nowhere.tar', r'there is no nowhere\.tar'),
        (np.zeros((8, 8), np.uint8), r'image 0: uint8 \[8, 8\] is no image'),
        (torch.zeros(1, 8, 8), r'image 0: uint8 \[8, 8, 1\] is no image'),
        (torch.full((3, 8, 8), 2.0), r'must lie in \[0, 1\]'),
    ],
)
def test_what_is_no_image_is_named(images, message):
    with pytest.raises(UserError, match=message):
        Crops(images, 32)[0]
