"""Masks and boxes drawn over images, and sheets of pictures."""

import numpy as np
import pytest

from repre_mm.visualization import draw_labels, draw_objects, sheet
from repre_mm.visualization.overlays import label_colours

NAMES = ['ant', 'bee', 'cat']


def test_colours_differ():
    colours = label_colours(30).astype(int)
    gaps = np.abs(colours[:, None] - colours[None]).sum(-1) + 999 * np.eye(30, dtype=int)
    assert gaps.min() > 10


def test_masks_are_blended_where_they_are():
    image = np.zeros((400, 500, 3), dtype=np.uint8)
    mask = np.zeros((1, 400, 500), dtype=bool)
    mask[0, 100:200, 50:150] = True
    boxes, scores = np.array([[50, 100, 150, 200]]), np.array([0.5])
    drawn = draw_objects(image, mask, np.array([1]), NAMES, boxes=boxes, scores=scores)
    assert drawn.shape == image.shape
    assert np.abs(drawn[180, 100].astype(int) - label_colours(3)[1] / 2).max() <= 1
    assert not drawn[300:, 300:].any()
    assert (drawn[150, 50] == label_colours(3)[1]).all(), 'the outline of the box'


def test_names_stand_in_their_masks():
    image = np.full((400, 400, 3), 100, dtype=np.uint8)
    masks = np.zeros((2, 400, 400), dtype=bool)
    masks[0, :, :200] = True
    masks[1, :10, 390:] = True  # too small for a name
    drawn = draw_objects(image, masks, np.array([2, 0]), NAMES)
    assert (drawn[:, 200:390] == 100).all()
    assert np.abs(drawn[10, 10].astype(int) - (label_colours(3)[2].astype(int) + 100) / 2).max() <= 1
    white = np.argwhere((drawn == 255).all(-1))
    assert len(white) and np.abs(white.mean(0) - (200, 100)).max() < 5


def test_small_images_are_enlarged_by_a_whole_factor():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    drawn = draw_labels(image, np.full((40, 60), 255), NAMES)
    assert drawn.shape == (320, 480, 3)
    assert (drawn[::8, ::8] == image).all()


def test_sheet_places_rows_and_columns():
    tiles = [[np.full((10, 20, 3), 10 * row + column, dtype=np.uint8) for column in range(2)] for row in range(3)]
    picture = sheet(tiles, ['left', 'right'])
    for row in range(3):
        for column in range(2):
            assert (picture == 10 * row + column).all(-1).sum() >= 200
    with pytest.raises(ValueError, match='every row needs 1 pictures'):
        sheet(tiles, ['left'])


def test_captions_of_rows_stand_on_their_left():
    tile = np.zeros((50, 60, 3), np.uint8)
    bare, named = (sheet([[tile, tile]] * 2, ['a', 'b'], rows) for rows in (None, ['first', 'second']))
    assert named.shape[0] == bare.shape[0] and named.shape[1] > bare.shape[1]
    with pytest.raises(ValueError, match='shorter'):
        sheet([[tile]] * 2, ['a'], ['only one'])
