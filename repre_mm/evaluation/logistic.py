"""Fit the linear classifier of least cross-entropy on frozen features: standardised channels, L-BFGS, float64."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

_ROWS = 8192  # rows added to the full-batch gradient at a time


class Standardise:
    """Standardise channels a batch at a time, by the mean and deviation of all features (N, C)."""

    def __init__(self, features: Tensor) -> None:
        deviation, self.mean = torch.std_mean(features.float(), dim=0, correction=0)
        # A constant channel becomes 0, not amplified rounding noise.
        constant = deviation <= 1e-6 * self.mean.abs().clamp(min=1e-6)
        self.factor = torch.where(constant, 0.0, 1 / deviation)

    def __call__(self, features: Tensor) -> Tensor:
        """(B, C) -> (B, C), float32."""
        return (features.float() - self.mean) * self.factor


class LogisticFit(NamedTuple):
    """A linear classifier of standardised features.

    Attributes:
        weight: (C, K), float64.
        bias: (K,), float64.
        slope: Largest component of the gradient where the solver stopped.
        converged: Whether that is within the tolerance.
    """

    weight: Tensor
    bias: Tensor
    slope: float
    converged: bool


def fit_logistic(
    features: Tensor,
    targets: Tensor,
    standardise: Standardise,
    *,
    num_classes: int,
    weight_decay: float,
    max_iterations: int,
    tolerance: float = 1e-6,
    progress: bool = False,
) -> LogisticFit:
    """Minimise the mean cross-entropy plus ``weight_decay / 2 * |W|^2`` (bias not decayed).

    Args:
        features: (N, C), on any device; the work is done there.
        targets: (N,) labels, or (N, K) probabilities of them, on that device.
        standardise: Of the features.
        num_classes: K.
        weight_decay: Positive, as separable classes have no minimum without it.
        max_iterations: Of L-BFGS; at most twice as many evaluations.
        tolerance: Of the gradient.
        progress: Show a progress bar.
    """
    # In float32 the line search stalls before the minimum.
    options = {'dtype': torch.float64, 'device': features.device, 'requires_grad': True}
    weight = torch.zeros(features.shape[1], num_classes, **options)
    bias = torch.zeros(num_classes, **options)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=max_iterations,
        max_eval=2 * max_iterations,
        tolerance_grad=tolerance,
        tolerance_change=0,
        line_search_fn='strong_wolfe',
    )
    with tqdm(desc='linear classifier, L-BFGS', unit=' evaluations', disable=not progress) as bar:

        def objective() -> Tensor:
            optimizer.zero_grad()
            loss = weight_decay / 2 * weight.square().sum()
            loss.backward()
            # Gradients add up over parts, so that the logits of a large set never exist at once.
            for inputs, wanted in zip(features.split(_ROWS), targets.split(_ROWS), strict=True):
                logits = standardise(inputs).double() @ weight + bias
                wanted = wanted.double() if wanted.is_floating_point() else wanted
                part = F.cross_entropy(logits, wanted, reduction='sum') / len(features)
                part.backward()
                loss = loss.detach() + part.detach()
            bar.update()
            return loss

        optimizer.step(objective)
        objective()
    slope = max(weight.grad.abs().max().item(), bias.grad.abs().max().item())
    return LogisticFit(weight.detach(), bias.detach(), slope, slope <= tolerance)
