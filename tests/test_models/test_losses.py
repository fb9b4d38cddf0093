import math

import pytest
import torch

from repre_mm.models import FixedWeighting, UncertaintyWeighting


def test_uncertainty_weighting_equals_the_formula():
    weighting = UncertaintyWeighting(init_steps=0)
    with torch.no_grad():
        weighting.log_vars.copy_(torch.tensor([0.5, -2.0]))
    total, weights = weighting(torch.tensor(3.0), torch.tensor(0.2))
    torch.testing.assert_close(total.item(), math.exp(-0.5) * 3 + 0.5 + math.exp(2.0) * 0.2 - 2.0)
    torch.testing.assert_close(weights['weight_contrast'].item(), math.exp(-0.5))
    torch.testing.assert_close(weights['weight_recon'].item(), math.exp(2.0))


def test_learned_weights_become_the_inverse_of_the_losses():
    weighting = UncertaintyWeighting(init_steps=0)
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        weighting(torch.tensor(4.0), torch.tensor(0.5))[0].backward()
        optimizer.step()
    torch.testing.assert_close(weighting.log_vars.exp().detach(), torch.tensor([4.0, 0.5]), rtol=1e-3, atol=1e-3)


def test_log_variances_stay_in_fp32():
    weighting = UncertaintyWeighting()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        total, _ = weighting(torch.tensor(3.0, dtype=torch.bfloat16), torch.tensor(0.2))
    assert total.dtype == weighting.log_vars.dtype == torch.float32


def test_negative_loss_is_refused_and_a_shift_accepts_it():
    with pytest.raises(ValueError, match=r'contrastive loss is -0.7000, below zero.*contrast_shift'):
        UncertaintyWeighting()(torch.tensor(-0.7), torch.tensor(0.2))
    total, _ = UncertaintyWeighting(contrast_shift=1.0, init_steps=0)(torch.tensor(-0.7), torch.tensor(0.2))
    torch.testing.assert_close(total.item(), 0.3 + 0.2)


def test_a_loss_that_turns_negative_later_is_found():
    weighting = UncertaintyWeighting(init_steps=1)
    weighting(torch.tensor(0.5), torch.tensor(0.2))
    weighting.check_positive()
    weighting(torch.tensor(-0.1), torch.tensor(0.2))  # does not wait for the device to tell
    weighting(torch.tensor(0.5), torch.tensor(0.2))
    with pytest.raises(ValueError, match=r'contrastive loss is -0.1000, below zero'):
        weighting.check_positive()


def test_signs_are_checked_at_an_interval():
    positive, negative, recon = torch.tensor(0.5), torch.tensor(-0.1), torch.tensor(0.2)
    weighting = UncertaintyWeighting(init_steps=1)
    weighting.check_interval = 0
    weighting(positive, recon)
    weighting(negative, recon)
    weighting.check_interval = 2
    weighting(positive, recon)
    with pytest.raises(ValueError, match=r'contrastive loss is -0\.1000, below zero'):
        weighting(positive, recon)


def test_decayed_log_variances_are_refused_by_any_optimizer():
    weighting = UncertaintyWeighting()
    weighting(torch.tensor(0.5), torch.tensor(0.2))[0].backward()
    for _ in range(2):
        with pytest.raises(ValueError, match=r'weight decay 0\.1'):
            torch.optim.AdamW(weighting.parameters(), weight_decay=0.1).step()
    torch.optim.AdamW(weighting.parameters(), weight_decay=0.0).step()


def test_weights_start_as_the_inverse_of_the_first_losses():
    weighting = UncertaintyWeighting(init_steps=2)
    total, weights = weighting(torch.tensor(4.0), torch.tensor(0.2))
    torch.testing.assert_close(total.item(), 2 + math.log(4.0) + math.log(0.2))
    torch.testing.assert_close([w.item() for w in weights.values()], [1 / 4.0, 1 / 0.2])
    _, weights = weighting(torch.tensor(2.0), torch.tensor(0.1))  # the mean of both steps
    torch.testing.assert_close([w.item() for w in weights.values()], [1 / 3.0, 1 / 0.15])
    _, weights = weighting(torch.tensor(1.0), torch.tensor(0.1))  # from here on they are the optimizer's
    torch.testing.assert_close([w.item() for w in weights.values()], [1 / 3.0, 1 / 0.15])


def test_start_is_kept_in_checkpoints():
    whole, first = UncertaintyWeighting(init_steps=3), UncertaintyWeighting(init_steps=3)
    losses = [(4.0, 0.3), (3.0, 0.2), (2.0, 0.1), (1.0, 0.1)]
    for pair in losses[:2]:
        whole(*map(torch.tensor, pair))
        first(*map(torch.tensor, pair))
    second = UncertaintyWeighting(init_steps=3)
    second.load_state_dict(first.state_dict())
    for pair in losses[2:]:
        torch.testing.assert_close(second(*map(torch.tensor, pair))[0], whole(*map(torch.tensor, pair))[0])


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
@pytest.mark.parametrize('step', [0, 2])
def test_non_finite_losses_do_not_enter_the_start(bad, step):
    weighting = UncertaintyWeighting(init_steps=3)
    for number in range(4):
        broken = number == step
        weighting(torch.tensor(bad if broken else 4.0), torch.tensor(0.2))
    torch.testing.assert_close(weighting.log_vars.exp().detach(), torch.tensor([4.0, 0.2]))
    weighting(torch.tensor(-1.0), torch.tensor(0.2))
    with pytest.raises(ValueError, match='below zero'):
        weighting.check_positive()


def test_a_step_that_is_set_back_counts_once():
    weighting = UncertaintyWeighting(init_steps=2)
    before = {name: buffer.clone() for name, buffer in weighting.named_buffers()}
    weighting(torch.tensor(8.0), torch.tensor(0.8))
    for name, buffer in weighting.named_buffers():  # as NonFiniteHook does after a step that it skips
        buffer.copy_(before[name])
    _, weights = weighting(torch.tensor(4.0), torch.tensor(0.2))
    torch.testing.assert_close([w.item() for w in weights.values()], [1 / 4.0, 1 / 0.2])


def test_log_variances_of_older_checkpoints_are_kept():
    weighting = UncertaintyWeighting()
    weighting.load_state_dict({'log_vars': torch.tensor([0.5, -2.0])})
    weighting(torch.tensor(4.0), torch.tensor(0.2))
    torch.testing.assert_close(weighting.log_vars.detach(), torch.tensor([0.5, -2.0]))


def test_weights_follow_falling_losses_in_a_short_run():
    # The toy configs' optimizer: AdamW, a rate of 0.02 for the log-variances, two epochs of warm-up, cosine decay.
    weighting, steps = UncertaintyWeighting(), 300
    optimizer = torch.optim.AdamW(weighting.parameters(), lr=0.02, weight_decay=0.0)
    for step in range(steps):
        optimizer.param_groups[0]['lr'] = 0.02 * min(step / 30, 0.5 + 0.5 * math.cos(math.pi * step / steps))
        contrast, recon = (torch.tensor(low + gap * math.exp(-step / 60)) for low, gap in ((0.4, 0.6), (0.05, 0.2)))
        total, weights = weighting(contrast, recon)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        products = [weights['weight_contrast'] * contrast, weights['weight_recon'] * recon]
        assert all(0.6 < float(product) < 1.3 for product in products), (step, products)
    torch.testing.assert_close([float(product) for product in products], [1.0, 1.0], atol=0.05, rtol=0)


def test_ratio_is_bounded_and_can_come_back():
    weighting = UncertaintyWeighting(max_ratio=10.0, init_steps=0)
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.1)

    def ratio(recon: float, steps: int) -> float:
        for _ in range(steps):
            optimizer.zero_grad()
            total, weights = weighting(torch.tensor(4.0), torch.tensor(recon))
            total.backward()
            optimizer.step()
        return (weights['weight_recon'] / weights['weight_contrast']).item()

    assert ratio(0.01, 200) == pytest.approx(10.0, rel=1e-4)  # unbounded it would be 400
    assert ratio(2.0, 400) == pytest.approx(2.0, rel=1e-2)


def test_fixed_weighting():
    total, weights = FixedWeighting(contrast=0.5, recon=2.0)(torch.tensor(-3.0), torch.tensor(0.2))
    torch.testing.assert_close(total.item(), -1.1)
    assert (weights['weight_contrast'].item(), weights['weight_recon'].item()) == (0.5, 2.0)
    assert FixedWeighting().state_dict() == {}
