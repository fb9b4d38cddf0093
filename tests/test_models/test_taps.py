import pytest
import torch
from fixtures.models import SWIN, VIT
from mmpretrain.registry import MODELS
from torch import nn

from repre_mm.models import LevelTap, encoder_levels
from repre_mm.models.taps import find_rows, tokens_to_map


def test_tokens_to_map_drops_leading_tokens_and_keeps_the_raster_order():
    grid = torch.arange(2 * 3 * 5.0).view(1, 6, 5)
    tokens = torch.cat([torch.full((1, 2, 5), -1.0), grid], dim=1)  # a class and a register token
    maps = tokens_to_map(tokens, (2, 3))
    assert maps.shape == (1, 5, 2, 3)
    torch.testing.assert_close(maps[0, :, 1, 2], grid[0, 5])
    with pytest.raises(ValueError, match='8 tokens for a grid of 3 x 3'):
        tokens_to_map(tokens, (3, 3))


FAMILIES = {
    'vit': (VIT, [32] * 6, [(8, 8)] * 6),
    'deit': (dict(VIT, type='DistilledVisionTransformer'), [32] * 6, [(8, 8)] * 6),
    'swin': (SWIN, [16, 32, 64, 128], [(4, 4), (8, 8), (16, 16), (32, 32)]),
    'resnet': (dict(type='ResNet', depth=18), [64, 128, 256, 512], [(4, 4), (8, 8), (16, 16), (32, 32)]),
    'resnet50': (dict(type='ResNet', depth=50), [256, 512, 1024, 2048], [(4, 4), (8, 8), (16, 16), (32, 32)]),
}


@pytest.mark.parametrize('family', FAMILIES)
def test_described_levels_are_what_a_forward_gives(family):
    cfg, channels, strides = FAMILIES[family]
    backbone = MODELS.build(cfg)
    levels = encoder_levels(backbone)
    assert (list(levels.channels), list(levels.strides)) == (channels, strides)
    images = torch.randn(2, 3, 64, 96)
    with LevelTap().open(backbone, range(len(levels)), images) as heard:
        backbone(images)
    for index, (width, stride) in enumerate(zip(channels, strides, strict=True)):
        assert heard[index].shape == (2, width, 64 // stride[0], 96 // stride[1])


def test_find_rows():
    first, second = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    assert find_rows(torch.cat([second, first]), first) == slice(3, 6)
    assert find_rows(torch.stack([second, first], 1).flatten(0, 1), first) == slice(1, None, 2)
    assert find_rows(torch.cat([second, second]), first) is None


def test_swin_that_merges_inside_its_stages_is_refused():
    swin = MODELS.build(dict(SWIN, out_after_downsample=True))
    with pytest.raises(ValueError, match='out_after_downsample=False'):
        encoder_levels(swin)


def test_an_encoder_may_describe_itself():
    class Own(nn.Module):
        def encoder_levels(self):
            return 'described'

    assert encoder_levels(Own()) == 'described'
