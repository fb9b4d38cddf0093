"""Heat maps, principal components, frames and keys."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from repre_mm.visualization.maps import component_colours, framed, heat_map, with_key, with_scale


def test_heat_map_shows_each_cell_as_it_is():
    picture = heat_map(np.array([[0.0, 1.0, 2.0], [9.0, 2.0, -1.0]]), low=0, high=2, size=20)
    assert picture.shape == (20, 30, 3)
    cells = picture.reshape(2, 10, 3, 10, 3)
    assert_array_equal(cells, np.broadcast_to(cells[:, :1, :, :1], cells.shape))  # no smoothing
    light = cells[:, 0, :, 0].sum(-1)
    assert light[0, 0] < light[0, 1] < light[0, 2] == light[1, 0]  # clipped above
    assert light[1, 2] == light[0, 0]  # and below


def test_colours_are_the_principal_components_of_all_images_together():
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(5, 5, generator=generator))[0]
    scores = torch.randn(2, 4, 4, 5, generator=generator) * torch.tensor([9.0, 4.0, 2.0, 0.01, 0.01])
    colours = component_colours((scores @ axes.T).permute(0, 3, 1, 2)).astype(float)
    for channel in range(3):
        correlation = np.corrcoef(colours[..., channel].ravel(), scores[..., channel].ravel())[0, 1]
        assert abs(correlation) > 0.93  # the ends are clipped, so not quite 1
    assert colours.min() == 0 and colours.max() == 255


def test_tokens_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match='diverged'):
        component_colours(torch.full((1, 4, 4, 4), torch.nan))


def test_frames_scale_and_key_leave_the_picture_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (40, 300, 3), dtype=np.uint8)
    assert_array_equal(framed(image, (1, 2, 3))[6:-6, 6:-6], image[6:-6, 6:-6])
    assert_array_equal(framed(image, (1, 2, 3))[0, 0], (1, 2, 3))
    assert framed(image, None) is image
    assert_array_equal(with_scale(image, 0, 1, 'what the values are, in many words')[:40, :300], image)
    assert_array_equal(with_key(image, [((1, 2, 3), 'same')])[:40], image)
