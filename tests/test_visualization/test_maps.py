"""Maps, sheets and projections as pictures."""

import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from repre_mm.visualization.embedding import embedding_figure, project
from repre_mm.visualization.maps import component_colours, framed, heat_map, with_key, with_scale
from repre_mm.visualization.overlays import sheet, shorten
from repre_mm.visualization.text import letters


def test_heat_map_shows_each_cell_as_it_is():
    picture = heat_map(np.array([[0.0, 1.0, 2.0], [9.0, 2.0, -1.0]]), low=0, high=2, size=20)
    assert picture.shape == (20, 30, 3)
    cells = picture.reshape(2, 10, 3, 10, 3)
    assert_array_equal(cells, np.broadcast_to(cells[:, :1, :, :1], cells.shape))  # no smoothing
    light = cells[:, 0, :, 0].sum(-1)
    assert light[0, 0] < light[0, 1] < light[0, 2] == light[1, 0]  # clipped above
    assert light[1, 2] == light[0, 0]  # and below


def test_constant_map_is_drawn():
    assert len(np.unique(heat_map(np.ones((2, 2)), 1, 1, 8).reshape(-1, 3), axis=0)) == 1


def test_colours_are_the_principal_components_of_all_images_together():
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(5, 5, generator=generator))[0]
    scores = torch.randn(2, 4, 4, 5, generator=generator) * torch.tensor([9.0, 4.0, 2.0, 0.01, 0.01])
    colours = component_colours((scores @ axes.T).permute(0, 3, 1, 2)).astype(float)
    for channel in range(3):
        correlation = np.corrcoef(colours[..., channel].ravel(), scores[..., channel].ravel())[0, 1]
        assert abs(correlation) > 0.93  # the ends are clipped, so not quite 1
    assert colours.min() == 0 and colours.max() == 255


@pytest.mark.parametrize(
    ('maps', 'message'),
    [(torch.zeros(1, 2, 4, 4), 'three channels'), (torch.full((1, 4, 4, 4), torch.nan), 'diverged')],
)
def test_tokens_without_components_are_refused(maps, message):
    with pytest.raises(ValueError, match=message):
        component_colours(maps)


def test_frames_scale_and_key_leave_the_picture_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (40, 300, 3), dtype=np.uint8)
    assert_array_equal(framed(image, (1, 2, 3))[6:-6, 6:-6], image[6:-6, 6:-6])
    assert_array_equal(framed(image, (1, 2, 3))[0, 0], (1, 2, 3))
    assert framed(image, None) is image
    assert_array_equal(with_scale(image, 0, 1, 'what the values are, in many words')[:40, :300], image)
    assert_array_equal(with_key(image, [((1, 2, 3), 'same')])[:40], image)


def test_sheet_writes_row_captions_and_cuts_long_ones():
    tile = np.zeros((50, 60, 3), np.uint8)
    bare = sheet([[tile, tile]] * 2, ['a', 'b'])
    named = sheet([[tile, tile]] * 2, ['a', 'b'], ['first', 'second'])
    assert named.shape[0] == bare.shape[0] and named.shape[1] > bare.shape[1]
    uncaptioned = sheet([[tile, tile]] * 2, None, ['first', 'second'])
    assert_array_equal(uncaptioned[12:], named[12 + 22 :])  # the margin, then the line of captions
    with pytest.raises(ValueError, match=r'every row needs 2 pictures, one for each caption; got \[2, 1\]'):
        sheet([[tile, tile], [tile]], None)
    font = letters(14)
    cut = shorten('repre_mocov3_vit-small/epoch_300', font, 100)
    assert font.getlength(cut) <= 100 and cut.startswith('repre') and cut.endswith('300')
    assert shorten('short', font, 100) == 'short'
    with pytest.raises(ValueError, match='2 rows need as many captions, not 1'):
        sheet([[tile]] * 2, ['a'], ['only one'])


def clusters(per_class=12):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 16)) * 5
    labels = np.repeat(np.arange(3), per_class)
    return (centres[labels] + rng.normal(size=(len(labels), 16))).astype(np.float32), labels


def test_tsne_keeps_classes_together_and_repeats_itself():
    pytest.importorskip('sklearn')
    features, labels = clusters()
    points = project(features, 'tsne')
    assert points.shape == (36, 2)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.diag(np.full(36, np.inf))
    assert (labels[distances.argmin(1)] == labels).mean() > 0.95
    assert_array_equal(points, project(features * 8, 'tsne'))  # lengths do not count; 8 scales without rounding
    figure = embedding_figure({'<a>': points, '_$b$': points}, labels, ['x', '_y', '$z$'], 't-SNE')
    figure.draw_without_rendering()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['x', '_y', '$z$']


def test_projections_that_cannot_be_made_are_refused(monkeypatch):
    features, _ = clusters()
    with pytest.raises(ValueError, match="must be one of tsne, umap, not 'pca'"):
        project(features, 'pca')
    with pytest.raises(ValueError, match='3 images are too few'):
        project(features[:3])
    monkeypatch.setitem(sys.modules, 'umap', None)
    with pytest.raises(ValueError, match='pip install umap-learn'):
        project(features, 'umap')


def test_letters_know_names_and_signs_of_many_languages():
    unknown = bytes(letters(14).getmask('\uffff'))
    assert all(bytes(letters(14).getmask(sign)) != unknown for sign in '≤≥…±üñøłΩж')
