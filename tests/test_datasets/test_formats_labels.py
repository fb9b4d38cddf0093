"""Every mask is read before a training, counted and remembered."""

import numpy as np
import pytest
from fixtures.masks import write_pairs
from PIL import Image

from repre_mm.datasets.formats import labels
from repre_mm.datasets.formats.labels import count_pixels
from repre_mm.datasets.formats.masks import find_pairs
from repre_mm.datasets.listing import DatasetError


@pytest.fixture
def pairs(tmp_path):
    write_pairs(tmp_path / 'i', tmp_path / 'm', [0, 4, [1, 2], 255])
    return find_pairs(tmp_path / 'i', tmp_path / 'm')


def test_pixels_of_each_label(pairs):
    counts = count_pixels(pairs)
    expected = np.zeros((4, 256), int)
    expected[0, 0] = expected[1, 4] = expected[3, 255] = 80
    expected[2, [1, 2]] = 40
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize(
    ('mode', 'stored'), [('P', [[0, 3]]), ('1', [[0, 255]]), ('I;16', [[0, 3]])], ids=['palette', 'bits', '16 bit']
)
def test_label_formats(tmp_path, mode, stored):
    write_pairs(tmp_path / 'i', tmp_path / 'm', [0], size=(1, 2))
    dtype = np.uint16 if mode == 'I;16' else np.uint8
    image = Image.fromarray(np.array(stored, dtype))
    if mode == 'P':
        image.putpalette([9, 9, 9] * 256)
    (image.convert('1') if mode == '1' else image).save(tmp_path / 'm/0.png')
    (row,) = count_pixels(find_pairs(tmp_path / 'i', tmp_path / 'm'))
    assert row.nonzero()[0].tolist() == [0, 1 if mode == '1' else 3]


def change_pixels(path, pixels):
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:40]), 'cannot be read'),
        (lambda path: change_pixels(path, np.zeros((8, 10, 3), np.uint8)), 'one label per pixel, but has 3 channels'),
        (lambda path: change_pixels(path, np.full((8, 10), 300, np.uint16)), 'holds values of 300 to 300'),
        (lambda path: change_pixels(path, np.zeros((8, 9), np.uint8)), r'has 9 x 8 pixels, its image .*/2.png 10 x 8'),
    ],
    ids=['cut', 'colours', 'beyond 255', 'size'],
)
def test_wrong_masks_are_named(pairs, tmp_path, change, message):
    change(tmp_path / 'm/2.png')
    with pytest.raises(DatasetError, match=rf'1 of 4 masks are wrong:\n.*{tmp_path}/m/2.png .*{message}'):
        count_pixels(pairs)


def test_an_upright_mask_of_a_turned_photograph(tmp_path):
    write_pairs(tmp_path / 'i', tmp_path / 'm', [0], extension='.jpg')
    exif = Image.Exif()
    exif[0x0112] = 6  # a phone held upright
    Image.new('RGB', (8, 10)).save(tmp_path / 'i/0.jpg', exif=exif)
    assert count_pixels([(tmp_path / 'i/0.jpg', tmp_path / 'm/0.png')])[0, 0] == 80


def test_files_are_read_again_when_one_changes(pairs, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(labels, '_FEW', 3)
    first, read = count_pixels(pairs), []  # in several processes
    monkeypatch.setattr(labels, '_read', lambda pairs: read.append(pairs) or np.zeros((4, 256)))
    np.testing.assert_array_equal(count_pixels(pairs), first)
    assert read == []
    write_pairs(tmp_path / 'i', tmp_path / 'm', [[7, 7, 7, 7]], start=1)
    assert count_pixels(pairs).sum() == 0
    assert read == [pairs]
