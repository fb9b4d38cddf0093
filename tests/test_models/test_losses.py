import math

import pytest
import torch

from repre_mm.models import FixedWeighting, UncertaintyWeighting


def test_uncertainty_weighting_equals_the_formula():
    weighting = UncertaintyWeighting()
    with torch.no_grad():
        weighting.log_vars.copy_(torch.tensor([0.5, -2.0]))
    total, weights = weighting(torch.tensor(3.0), torch.tensor(0.2))
    torch.testing.assert_close(total.item(), math.exp(-0.5) * 3 + 0.5 + math.exp(2.0) * 0.2 - 2.0)
    torch.testing.assert_close(weights['weight_contrast'].item(), math.exp(-0.5))
    torch.testing.assert_close(weights['weight_recon'].item(), math.exp(2.0))


def test_learned_weights_become_the_inverse_of_the_losses():
    weighting = UncertaintyWeighting()
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
    total, _ = UncertaintyWeighting(contrast_shift=1.0)(torch.tensor(-0.7), torch.tensor(0.2))
    torch.testing.assert_close(total.item(), 0.3 + 0.2)


def test_ratio_is_bounded_and_can_come_back():
    weighting = UncertaintyWeighting(max_ratio=10.0)
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
