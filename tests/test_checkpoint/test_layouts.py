"""Names and orders of the libraries: every layout gives mmpretrain's features, and converts there and back."""

import pytest
import torch
from fixtures.encoders import (
    filled,
    mm_resnet,
    mm_swin,
    mm_vit,
    mmseg_vit,
    other_swin,
    timm_swin,
    timm_vit,
)

from repre_mm.checkpoint.layouts import CONSTANTS, convert, describe, get_layout
from repre_mm.checkpoint.recognise import layout_of

PIVOTS = {'ViT': mm_vit, 'Swin': mm_swin, 'ResNet': mm_resnet}
ENCODERS = {
    'timm_vit': (timm_vit, ('ViT', 'timm')),
    'mmseg_vit': (mmseg_vit, ('ViT', 'mmseg')),
    'mm_vit': (mm_vit, ('ViT', 'mmpretrain')),
    'timm_swin': (timm_swin, ('Swin', 'timm')),
    'mmdet_swin': (lambda: other_swin('mmdet'), ('Swin', 'mmpretrain')),
    'mm_resnet': (mm_resnet, ('ResNet', 'mmpretrain')),
}


@pytest.mark.parametrize('name', ENCODERS)
def test_layouts_are_told_apart_and_convert_there_and_back(name):
    build, (family, library) = ENCODERS[name]
    encoder = filled(build())
    layout, root = layout_of(encoder)
    assert (layout.family, layout.library, root) == (family, library, '')
    state = encoder.state_dict()
    pivot = layout.to_pivot(state)
    # Exactly mmpretrain's names and shapes ...
    theirs, ours = (
        {key: value.shape for key, value in tensors.items() if not key.endswith(CONSTANTS)}
        for tensors in (pivot, PIVOTS[family]().state_dict())
    )
    assert theirs == ours
    # ... and back again.
    again = layout.from_pivot(pivot)
    assert again.keys() == state.keys()
    for key, value in state.items():
        torch.testing.assert_close(again[key], value, rtol=0, atol=0)


def test_release_of_swin_merges_at_the_end_of_a_stage():
    state = timm_swin().state_dict()
    release = get_layout('Swin', 'release')
    as_released = convert(state, get_layout('Swin', 'timm'), release)
    assert 'layers.0.downsample.reduction.weight' in as_released
    assert 'layers.2.downsample.reduction.weight' not in as_released
    # timm's own tensors, under the other name: only the numbers of the stages moved.
    torch.testing.assert_close(as_released['layers.0.downsample.norm.bias'], state['layers.1.downsample.norm.bias'])
    assert release.at(as_released) == ['']
    assert get_layout('Swin', 'timm').at(as_released) == []


def test_swin_of_another_version_is_not_taken_for_swin():
    import timm

    v2 = timm.create_model(
        'swinv2_tiny_window8_256', img_size=32, window_size=4, embed_dim=8, depths=(1, 1), num_heads=(1, 2)
    )
    assert layout_of(v2)[0].family == 'SwinTransformerV2'


def test_architecture_from_shapes():
    vit = timm_vit()
    assert describe(vit.state_dict(), layout_of(vit)[0]) == {
        'embed_dims': 24,
        'num_layers': 3,
        'feedforward_channels': 48,
        'patch_size': 8,
        'positions': 17,
    }
    swin = timm_swin()
    assert describe(swin.state_dict(), layout_of(swin)[0]) == {
        'embed_dims': 8,
        'depths': [2, 2, 1],
        'num_heads': [1, 2, 4],
        'window_size': 4,
        'patch_size': 4,
    }
