import copy
from math import exp

import pytest
import torch
from fixtures.models import VIT, make_views, mocov3

from repre_mm.models import RePreAlgorithm, RePreNeck, sample_levels
from repre_mm.models.necks import GatedRePreNeck


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


def test_single_is_the_last_level():
    assert RePreNeck([8] * 12, features='single').indices == [11]


def test_wrong_number_of_levels():
    with pytest.raises(ValueError, match='expects 4 levels, got 1'):
        RePreNeck([8] * 12)([torch.randn(1, 8, 2, 2)])


def test_indices_must_ascend():
    with pytest.raises(ValueError, match='must ascend'):
        RePreNeck([8] * 12, indices=[5, 2])


def test_gate_starts_at_the_sampled_levels_and_mixes_all():
    neck = GatedRePreNeck([8] * 6, num_levels=3, out_channels=None)
    assert neck.indices == [0, 1, 2, 3, 4, 5]
    assert neck.gate.argmax(dim=1).tolist() == sample_levels(6, 3) == [1, 3, 5]
    levels = [torch.randn(2, 8, 3, 4) for _ in range(6)]
    maps = neck(levels)
    most, rest = exp(3) / (exp(3) + 5), 1 / (exp(3) + 5)
    for own, mixed in zip((1, 3, 5), maps, strict=True):
        expected = sum((most if i == own else rest) * level for i, level in enumerate(levels))
        torch.testing.assert_close(mixed, expected)


def test_gate_finds_the_level_that_matters():
    """One level is noise-free; the gate has to go there from another start."""
    neck = GatedRePreNeck([4] * 5, num_levels=1, out_channels=None)
    optimizer = torch.optim.Adam(neck.parameters(), lr=0.2)
    for _ in range(150):
        levels = [torch.randn(8, 4, 2, 2) for _ in range(5)]
        loss = (neck(levels)[0] - levels[1]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert neck.gate.softmax(dim=1)[0, 1] > 0.9


def test_gate_refuses_what_cannot_be_averaged():
    with pytest.raises(ValueError, match=r'widths \[8, 16\]: use RePreNeck'):
        GatedRePreNeck([8, 16], num_levels=2)
    with pytest.raises(ValueError, match='expects 4 levels of one shape'):
        GatedRePreNeck([8] * 4)([torch.randn(1, 8, 2, 2)] * 3 + [torch.randn(1, 8, 1, 1)])


def test_masked_cells_carry_the_token_and_nothing_else():
    neck = RePreNeck([4, 8], num_levels=2, out_channels=6, mask_ratio=0.5)
    with torch.no_grad():
        for token in neck.mask.tokens:
            token.fill_(7.0)
    levels = [torch.randn(3, 4, 8, 4), torch.randn(3, 8, 4, 2)]
    neck.eval()
    plain = neck(levels)
    neck.train()
    fine, coarse = neck(levels)
    masked = (coarse == 7).all(dim=1)
    assert masked.flatten(1).sum(dim=1).tolist() == [4, 4, 4]  # half of 4 x 2 cells, in every image
    assert not torch.equal(masked[0], masked[1])
    # The same part of the image in the finer map: each coarse cell covers 2 x 2 of its cells.
    finer = masked.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
    torch.testing.assert_close((fine == 7).all(dim=1), finer)
    for found, kept, cells in ((fine, plain[0], ~finer), (coarse, plain[1], ~masked)):
        torch.testing.assert_close(found.permute(0, 2, 3, 1)[cells], kept.permute(0, 2, 3, 1)[cells])


def test_masks_differ_by_step_and_survive_a_resume():
    neck = RePreNeck([4], num_levels=1, out_channels=None, mask_ratio=0.5)
    levels = [torch.randn(2, 4, 6, 6)]
    first = neck(levels)[0]
    resumed = copy.deepcopy(neck)
    resumed.mask.steps.zero_()
    resumed.load_state_dict(neck.state_dict())
    drawn = torch.random.get_rng_state()
    second = neck(levels)[0]
    torch.testing.assert_close(torch.random.get_rng_state(), drawn)
    assert not torch.equal(first, second)
    torch.testing.assert_close(resumed(levels)[0], second, rtol=0, atol=0)


@pytest.mark.parametrize('ratio', [-0.1, 1.0])
def test_mask_ratio_must_leave_something(ratio):
    with pytest.raises(ValueError, match='mask_ratio'):
        RePreNeck([4], num_levels=1, mask_ratio=ratio)


@pytest.mark.parametrize(
    'neck',
    [dict(mask_ratio=0.5), dict(type='GatedRePreNeck', num_levels=3), dict(type='GatedRePreNeck', mask_ratio=0.25)],
)
def test_contrastive_loss_stays_the_same(neck):
    """Gate and mask act on what was tapped: the method sees and draws what it would without them."""
    results = []
    for options in (None, neck):
        torch.manual_seed(0)
        model = RePreAlgorithm(mocov3(dict(VIT, drop_path_rate=0.3)), neck=options)
        model.init_weights()
        model.train()
        torch.manual_seed(1)
        losses = model.loss(make_views(32))
        losses['loss'].backward()
        results.append((losses['contrast'], losses['recon_l1'], torch.rand(1), model))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=0)
    torch.testing.assert_close(results[0][2], results[1][2], rtol=0, atol=0)
    assert results[0][1] != results[1][1]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in results[1][3].repre_neck.parameters())
    assert all(p.grad.any() for p in results[1][3].repre_neck.parameters())
    assert results[1][3].reconstruct(torch.rand(1, 3, 32, 32)).shape == (1, 3, 32, 32)
