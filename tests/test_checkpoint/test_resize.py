"""Positions for other grids and windows."""

import pytest
import torch
import torch.nn.functional as F
from fixtures.encoders import filled, mm_swin, mm_vit, mmseg_vit, other_swin, timm_swin, timm_vit
from timm.layers import resample_abs_pos_embed

from repre_mm.checkpoint import CheckpointError
from repre_mm.checkpoint.recognise import layout_of
from repre_mm.checkpoint.resize import fit_positions, resize


def fitted(state: dict, encoder: torch.nn.Module) -> dict:
    return fit_positions(state, encoder, layout_of(encoder)[0])


@pytest.mark.parametrize('mode', ['bicubic', 'bilinear'])
def test_grid_is_what_torch_interpolates(mode):
    cells = torch.randn(4 * 5, 8)
    maps = cells.reshape(1, 4, 5, 8).permute(0, 3, 1, 2)
    expected = F.interpolate(maps, size=(3, 7), mode=mode, align_corners=False).permute(0, 2, 3, 1).reshape(-1, 8)
    torch.testing.assert_close(resize(cells, (4, 5), (3, 7), mode), expected, rtol=0, atol=0)


@pytest.mark.parametrize('target', [(7, 7), (2, 3)])
def test_antialiasing_is_that_of_timm(target):
    embedding = torch.randn(1, 2 + 16, 8)
    expected = resample_abs_pos_embed(embedding, list(target), [4, 4], num_prefix_tokens=2)
    resized = resize(embedding[0, 2:], (4, 4), target, antialias=True)
    torch.testing.assert_close(resized, expected[0, 2:], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ('build', 'mode', 'antialias'),
    [
        (lambda size: mm_vit(img_size=size, interpolate_mode='bilinear'), 'bilinear', False),
        (lambda size: timm_vit(img_size=size), 'bicubic', True),
        (lambda size: mmseg_vit(img_size=size, interpolate_mode='bilinear'), 'bilinear', False),
    ],
)
def test_every_library_gets_its_own_interpolation_on_its_own_grid(build, mode, antialias):
    state, encoder = filled(build(32)).state_dict(), build((48, 72))
    resized = fitted(state, encoder)
    assert list(resized) == ['pos_embed']
    theirs = state['pos_embed'][0]
    expected = torch.cat([theirs[:1], resize(theirs[1:], (4, 4), (6, 9), mode, antialias)])
    torch.testing.assert_close(resized['pos_embed'][0], expected, rtol=0, atol=0)


def test_nothing_to_do():
    for encoder in (mm_vit(img_size=(32, 64)), mm_swin()):
        assert fitted(encoder.state_dict(), encoder) == {}


def test_source_that_is_not_square_is_refused():
    with pytest.raises(CheckpointError, match='pos_embed has 22 positions, which are no square grid'):
        fitted(mm_vit(img_size=(24, 56)).state_dict(), mm_vit(img_size=40))  # 3 x 7, 5 x 5


def test_tokens_that_the_encoder_lacks_are_left_out():
    state = {'cls_token': torch.ones(1, 1, 24), 'dist_token': torch.ones(1, 1, 24), 'pos_embed': torch.randn(1, 18, 24)}
    resized = fitted(state, mm_vit())['pos_embed']
    torch.testing.assert_close(resized, state['pos_embed'][:, [0, *range(2, 18)]], rtol=0, atol=0)
    state = mm_vit().state_dict()
    resized = fitted(state, mm_vit(img_size=48, with_cls_token=False))['pos_embed']
    torch.testing.assert_close(resized[0], resize(state['pos_embed'][0, 1:], (4, 4), (6, 6)), rtol=0, atol=0)


@pytest.mark.parametrize(
    'build',
    [
        lambda: mm_swin(window_size=2),
        lambda: timm_swin(window_size=2),
        lambda: other_swin('mmdet', window_size=2),
        lambda: other_swin('mmseg', window_size=2),
    ],
)
def test_windows_of_swin(build):
    encoder = build()
    state = layout_of(encoder)[0].from_pivot(mm_swin(window_size=4).state_dict())
    resized = fitted(state, encoder)
    assert len(resized) == 5  # blocks
    for name, table in resized.items():
        assert name.endswith('relative_position_bias_table')
        torch.testing.assert_close(table, resize(state[name], (7, 7), (3, 3)), rtol=0, atol=0)
        # The middle of the table is the offset (0, 0) in any window.
        torch.testing.assert_close(table[9 // 2], state[name][49 // 2])
