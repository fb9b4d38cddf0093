"""Variants that the paper does not have."""

import copy
import math

import pytest
import torch
from fixtures.models import VIT, make_views, mocov3

from repre_mm.models import RePreAlgorithm, sample_levels
from repre_mm.models.variants import DynamicWeightAveraging, GatedRePreNeck, MaskedRePreNeck


def test_gate_starts_at_the_sampled_levels_and_mixes_all():
    neck = GatedRePreNeck([8] * 6, num_levels=3, out_channels=None)
    assert neck.indices == [0, 1, 2, 3, 4, 5]
    assert neck.gate.argmax(dim=1).tolist() == sample_levels(6, 3) == [1, 3, 5]
    levels = [torch.randn(2, 8, 3, 4) for _ in range(6)]
    maps = neck(levels)
    most, rest = math.exp(3) / (math.exp(3) + 5), 1 / (math.exp(3) + 5)
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


def test_masked_cells_carry_the_token_and_nothing_else():
    neck = MaskedRePreNeck([4, 8], mask_ratio=0.5, num_levels=2, out_channels=6)
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
    neck = MaskedRePreNeck([4], mask_ratio=0.5, num_levels=1, out_channels=None)
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
        MaskedRePreNeck([4], mask_ratio=ratio, num_levels=1)


@pytest.mark.parametrize('neck', [dict(type='MaskedRePreNeck'), dict(type='GatedRePreNeck', num_levels=3)])
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


def _feed(weighting, *pairs):
    """Weights (contrast, recon) that each pair of losses is joined with."""
    return [tuple(w.item() for w in weighting(torch.tensor(a), torch.tensor(b))[1].values()) for a, b in pairs]


def test_dynamic_weights_follow_the_ratios_of_the_last_two_periods():
    weighting = DynamicWeightAveraging(interval=2, temperature=2.0)
    # Period means: (4, 1), (3, 1), (3, 0.5).
    used = _feed(weighting, (5.0, 1.5), (3.0, 0.5), (3.5, 1.0), (2.5, 1.0), (3.0, 0.5), (3.0, 0.5), (9.0, 9.0))
    assert used[:4] == [(1.0, 1.0)] * 4  # the first two periods

    def expected(contrast: float, recon: float) -> tuple[float, float]:
        a, b = math.exp(contrast / 2), math.exp(recon / 2)
        return (2 * a / (a + b), 2 * b / (a + b))

    assert used[4] == used[5] == pytest.approx(expected(3 / 4, 1 / 1))
    assert used[6] == pytest.approx(expected(3 / 3, 0.5 / 1))


def test_dynamic_weights_scale_the_losses():
    weighting = DynamicWeightAveraging(interval=1)
    _feed(weighting, (4.0, 1.0), (2.0, 1.0))
    contrast, recon = torch.tensor(3.0, requires_grad=True), torch.tensor(0.2, requires_grad=True)
    total, weights = weighting(contrast, recon)
    total.backward()
    assert weights['weight_contrast'] < 1 < weights['weight_recon']  # the contrastive loss fell faster
    torch.testing.assert_close(total.detach(), weights['weight_contrast'] * 3 + weights['weight_recon'] * 0.2)
    torch.testing.assert_close(contrast.grad, weights['weight_contrast'])
    torch.testing.assert_close(recon.grad, weights['weight_recon'])
    torch.testing.assert_close(weights['weight_contrast'] + weights['weight_recon'], torch.tensor(2.0))


def test_dynamic_weights_go_on_after_a_resume():
    pairs = [(5.0, 1.0), (4.0, 0.9), (3.0, 0.3), (2.0, 0.2), (2.0, 0.1), (1.0, 0.1), (1.0, 0.1)]
    whole = _feed(DynamicWeightAveraging(interval=2), *pairs)
    first, second = DynamicWeightAveraging(interval=2), DynamicWeightAveraging(interval=2)
    before = _feed(first, *pairs[:3])  # in the middle of a period
    second.load_state_dict(first.state_dict())
    assert before + _feed(second, *pairs[3:]) == whole
    assert whole[-1] != (1.0, 1.0)


def test_dynamic_weights_are_not_moved_by_evaluation():
    weighting = DynamicWeightAveraging(interval=1).eval()
    assert _feed(weighting, (4.0, 1.0), (2.0, 1.0), (1.0, 1.0)) == [(1.0, 1.0)] * 3
    assert weighting.steps == 0


def test_dynamic_weights_refuse_negative_losses():
    with pytest.raises(ValueError, match=r'losses are -0.7000 and 0.2000.*contrast_shift'):
        DynamicWeightAveraging(interval=5)(torch.tensor(-0.7), torch.tensor(0.2))
    with pytest.raises(ValueError, match='interval=0'):
        DynamicWeightAveraging(interval=0)
