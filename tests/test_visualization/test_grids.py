"""Grids of reconstructions: what is drawn where, and what is refused."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from PIL import Image

from repre_mm.visualization import reconstruction_grid, save_png
from repre_mm.visualization.text import letters

LEFT = 12 + 2 * 6 + math.ceil(max(letters(14).getlength(caption) for caption in ('reconstruction', 'absolute error')))


def find_tiles(grid, size, columns):
    """The tiles of a grid as a dict (row, column) -> (size, size, 3)."""
    return {
        (row, column): grid[34 + row * (size + 6) :, LEFT + column * (size + 6) :][:size, :size]
        for row in range(3)
        for column in range(columns)
    }


def test_tiles_hold_input_reconstruction_and_error():
    inputs = torch.zeros(2, 3, 200, 200)
    inputs[0, 0] = 1.0  # a red image and a black one
    reconstructions = torch.full_like(inputs, 0.2)
    tiles = find_tiles(reconstruction_grid(inputs, reconstructions), 200, 2)
    assert_array_equal(tiles[0, 0], np.full((200, 200, 3), [255, 0, 0]))
    assert_array_equal(tiles[0, 1], np.zeros((200, 200, 3)))
    assert_array_equal(tiles[1, 0], np.full((200, 200, 3), 51))
    # Errors of 0.4 and 0.2 on a scale up to 0.4: the first is the end of the colour map, the second its
    # middle.
    assert tiles[2, 0].min() > 180
    assert 60 < tiles[2, 1].mean() < 150


def test_small_images_are_enlarged_without_smoothing():
    inputs = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    tiles = find_tiles(reconstruction_grid(inputs, inputs), 192, 1)
    pixels = (inputs[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    assert_array_equal(tiles[0, 0], pixels.repeat(4, axis=0).repeat(4, axis=1))
    assert_array_equal(tiles[0, 0], tiles[1, 0])
    assert tiles[2, 0].max() < 10  # no error: the dark end


def test_out_of_range_reconstruction_is_clipped_for_display_only():
    inputs = np.ones((2, 3, 160, 160), np.float32)
    reconstructions = inputs.copy()
    reconstructions[0] = 3.0
    tiles = find_tiles(reconstruction_grid(inputs, reconstructions), 160, 2)
    assert_array_equal(tiles[1, 0], tiles[0, 0])
    assert tiles[2, 0].mean() > tiles[2, 1].mean() + 100


def test_captions_stand_beside_and_above_the_tiles():
    images = torch.rand(5, 3, 160, 160)
    grid = reconstruction_grid(images, images, max_images=4)
    assert grid.dtype == np.uint8
    assert grid.shape == (34 + 3 * 166 - 6 + 12 + 26, LEFT + 4 * 166 - 6 + 12, 3)
    for captions in (grid[:34, LEFT:], grid[34:-38, :LEFT], grid[-26:]):
        assert (captions < 128).any() and (captions == 255).mean() > 0.7


def test_bad_input_is_named():
    images = torch.rand(2, 3, 16, 16)
    with pytest.raises(ValueError, match=r'\[0, 1\].*before mean/std normalisation'):
        reconstruction_grid(images - 2, images)
    with pytest.raises(ValueError, match='reconstructions hold NaN'):
        reconstruction_grid(images, images * float('nan'))


def test_save_png(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / 'new' / 'picture.png'
    save_png(picture, path)
    save_png(picture[::-1], path)
    assert_array_equal(np.array(Image.open(path)), picture[::-1])
    assert [file.name for file in path.parent.iterdir()] == ['picture.png']
