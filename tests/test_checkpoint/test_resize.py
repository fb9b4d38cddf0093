"""Positions for other grids and windows."""

import pytest
import torch
import torch.nn.functional as F
from fixtures.encoders import filled, mm_swin, mm_vit, mmseg_vit, other_swin, timm_swin, timm_vit
from timm.layers import resample_abs_pos_embed

from repre_mm.checkpoint import CheckpointError
from repre_mm.checkpoint.recognise import layout_of
from repre_mm.checkpoint.resize import fit_positions, resize_bias_table, resize_position_embedding


@pytest.mark.parametrize('tokens', [0, 1, 5])
@pytest.mark.parametrize('mode', ['bicubic', 'bilinear'])
@pytest.mark.parametrize('target', [(6, 6), (3, 7)])
def test_position_embedding_is_what_torch_interpolates(tokens, mode, target):
    embedding = torch.randn(1, tokens + 4 * 5, 8)
    resized = resize_position_embedding(embedding, (4, 5), target, mode=mode)
    torch.testing.assert_close(resized[:, :tokens], embedding[:, :tokens], rtol=0, atol=0)
    maps = embedding[:, tokens:].reshape(1, 4, 5, 8).permute(0, 3, 1, 2)
    expected = F.interpolate(maps, size=target, mode=mode, align_corners=False).permute(0, 2, 3, 1).reshape(1, -1, 8)
    torch.testing.assert_close(resized[:, tokens:], expected, rtol=0, atol=0)


def test_same_grid_is_the_identity():
    embedding = torch.randn(1, 1 + 12, 8)
    resized = resize_position_embedding(embedding, (3, 4), (3, 4), antialias=True)
    torch.testing.assert_close(resized, embedding, rtol=0, atol=0)
    table = torch.randn(7 * 7, 3)
    torch.testing.assert_close(resize_bias_table(table, (4, 4), (4, 4)), table, rtol=0, atol=0)


@pytest.mark.parametrize('target', [(7, 7), (2, 3)])
def test_antialiasing_is_that_of_timm(target):
    embedding = torch.randn(1, 2 + 16, 8)
    expected = resample_abs_pos_embed(embedding, list(target), [4, 4], num_prefix_tokens=2)
    resized = resize_position_embedding(embedding, (4, 4), target, antialias=True)
    torch.testing.assert_close(resized, expected, rtol=1e-6, atol=1e-6)


def test_tokens_can_be_left_out():
    embedding = torch.randn(1, 2 + 4, 8)
    resized = resize_position_embedding(embedding, (2, 2), (2, 2), keep_tokens=1)
    torch.testing.assert_close(resized, embedding[:, [0, 2, 3, 4, 5]], rtol=0, atol=0)
    with pytest.raises(ValueError, match=r'6 positions are no grid of 3 x 3'):
        resize_position_embedding(embedding, (3, 3), (2, 2))


def test_bias_table_is_what_torch_interpolates_and_keeps_its_middle():
    table = torch.randn(7 * 7, 3)  # window 4 x 4
    resized = resize_bias_table(table, (4, 4), (7, 5))
    maps = table.reshape(1, 7, 7, 3).permute(0, 3, 1, 2)
    expected = F.interpolate(maps, size=(13, 9), mode='bicubic', align_corners=False).permute(0, 2, 3, 1).reshape(-1, 3)
    torch.testing.assert_close(resized, expected, rtol=0, atol=0)
    # The middle of the table is the offset (0, 0) in any window.
    torch.testing.assert_close(resized[13 * 9 // 2], table[49 // 2])


@pytest.mark.parametrize(
    ('build', 'mode', 'antialias'),
    [
        (lambda size: mm_vit(img_size=size), 'bicubic', False),
        (lambda size: mm_vit(img_size=size, interpolate_mode='bilinear'), 'bilinear', False),
        (lambda size: timm_vit(img_size=size), 'bicubic', True),
        (lambda size: mmseg_vit(img_size=size, interpolate_mode='bilinear'), 'bilinear', False),
    ],
)
def test_every_library_gets_its_own_interpolation_on_its_own_grid(build, mode, antialias):
    state, encoder = filled(build(32)).state_dict(), build((48, 72))
    resized = fit_positions(state, encoder, layout_of(encoder)[0])
    assert list(resized) == ['pos_embed']
    expected = resize_position_embedding(state['pos_embed'], (4, 4), (6, 9), mode=mode, antialias=antialias)
    torch.testing.assert_close(resized['pos_embed'], expected, rtol=0, atol=0)


def test_nothing_to_do():
    for encoder in (mm_vit(img_size=(32, 64)), mm_swin()):
        assert fit_positions(encoder.state_dict(), encoder, layout_of(encoder)[0]) == {}


def test_source_that_is_not_square_has_to_be_told():
    state, encoder = mm_vit(img_size=(24, 56)).state_dict(), mm_vit(img_size=40)  # 3 x 7, 5 x 5
    layout, _ = layout_of(encoder)
    with pytest.raises(CheckpointError, match=r'pos_embed has 22 positions.*--source-grid ROWS COLUMNS'):
        fit_positions(state, encoder, layout)
    with pytest.raises(CheckpointError, match=r'22 positions, which are no grid of 4 x 7 patches'):
        fit_positions(state, encoder, layout, source_grid=(4, 7))
    resized = fit_positions(state, encoder, layout, source_grid=(3, 7))['pos_embed']
    torch.testing.assert_close(resized, resize_position_embedding(state['pos_embed'], (3, 7), (5, 5)), rtol=0, atol=0)


def test_equal_numbers_of_patches_on_another_grid():
    state, encoder = mm_vit(img_size=32).state_dict(), mm_vit(img_size=(16, 64))  # 4 x 4, 2 x 8
    layout, _ = layout_of(encoder)
    resized = fit_positions(state, encoder, layout, source_grid=(4, 4))['pos_embed']
    torch.testing.assert_close(resized, resize_position_embedding(state['pos_embed'], (4, 4), (2, 8)), rtol=0, atol=0)


def test_distillation_token_is_left_to_encoders_that_have_one():
    state = {'cls_token': torch.ones(1, 1, 24), 'dist_token': torch.ones(1, 1, 24), 'pos_embed': torch.randn(1, 18, 24)}
    encoder = mm_vit()
    resized = fit_positions(state, encoder, layout_of(encoder)[0])['pos_embed']
    torch.testing.assert_close(resized, state['pos_embed'][:, [0, *range(2, 18)]], rtol=0, atol=0)


def test_encoder_without_class_token():
    state, encoder = mm_vit().state_dict(), mm_vit(img_size=48, with_cls_token=False)
    resized = fit_positions(state, encoder, layout_of(encoder)[0])['pos_embed']
    expected = resize_position_embedding(state['pos_embed'], (4, 4), (6, 6), keep_tokens=0)
    torch.testing.assert_close(resized, expected, rtol=0, atol=0)


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
    layout, _ = layout_of(encoder)
    state = layout.from_pivot(mm_swin(window_size=4).state_dict())
    resized = fit_positions(state, encoder, layout)
    assert len(resized) == 5  # blocks
    for name, table in resized.items():
        assert name.endswith('relative_position_bias_table')
        torch.testing.assert_close(table, resize_bias_table(state[name], (4, 4), (2, 2)), rtol=0, atol=0)
