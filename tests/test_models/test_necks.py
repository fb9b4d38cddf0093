import pytest
import torch
import torch.nn.functional as F

from repre_mm.models import RePreNeck, sample_levels


@pytest.mark.parametrize(
    ('depth', 'num_levels', 'expected'),
    [
        (12, 4, [2, 5, 8, 11]),
        (24, 4, [5, 11, 17, 23]),
        (6, 4, [0, 1, 2, 5]),
        (4, 4, [0, 1, 2, 3]),
        (12, 1, [11]),
        (13, 3, [3, 7, 12]),
        (5, 5, [0, 1, 2, 3, 4]),
    ],
)
def test_sampling_follows_the_paper(depth, num_levels, expected):
    assert sample_levels(depth, num_levels) == expected


@pytest.mark.parametrize('num_levels', [0, 7])
def test_sampling_refuses_what_does_not_fit(num_levels):
    with pytest.raises(
        ValueError, match=f'num_levels={num_levels} levels cannot be sampled from an encoder of depth 6'
    ):
        sample_levels(6, num_levels)


def test_projects_each_level_by_its_own_1x1():
    neck = RePreNeck([4, 8, 16], indices=[0, -1], out_channels=6)
    assert neck.indices == [0, 2]
    levels = [torch.randn(2, 4, 8, 6), torch.randn(2, 16, 2, 3)]
    maps = neck(levels)
    for level, projection, out in zip(levels, neck.projections, maps, strict=True):
        expected = torch.einsum('bchw,dc->bdhw', level, projection.weight[:, :, 0, 0]) + projection.bias.view(
            1, -1, 1, 1
        )
        torch.testing.assert_close(out, expected)


def test_full_width_passes_the_levels_on():
    neck = RePreNeck([4, 8, 16, 32], out_channels=None)
    levels = [torch.randn(1, c, 2, 2) for c in (4, 8, 16, 32)]
    assert neck.out_channels == [4, 8, 16, 32]
    assert all(out is level for out, level in zip(neck(levels), levels, strict=True))


@pytest.mark.parametrize('out_channels', [6, None])
def test_single_gives_the_last_level_in_the_place_of_each(out_channels):
    neck = RePreNeck([4, 8, 16], num_levels=3, features='single', out_channels=out_channels)
    assert neck.indices == [0, 1, 2]
    assert neck.out_channels == RePreNeck([4, 8, 16], num_levels=3, out_channels=out_channels).out_channels
    levels = [torch.randn(2, 4, 8, 8), torch.randn(2, 8, 4, 4), torch.randn(2, 16, 2, 2)]
    maps = neck(levels)
    for width, level, projection, out in zip(neck.out_channels, levels, neck.projections, maps, strict=True):
        assert out.shape == (2, width, *level.shape[-2:])
        expected = F.interpolate(levels[-1], level.shape[-2:], mode='bilinear', align_corners=False)
        torch.testing.assert_close(out, projection(expected))


def test_wrong_number_of_levels():
    with pytest.raises(ValueError, match='shorter'):
        RePreNeck([8] * 12)([torch.randn(1, 8, 2, 2)])


def test_indices_must_ascend():
    with pytest.raises(ValueError, match='must ascend'):
        RePreNeck([8] * 12, indices=[5, 2])
