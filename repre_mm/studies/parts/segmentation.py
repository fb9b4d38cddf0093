"""A linear head on patch features that labels pixels, and its intersection over union."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

_ROWS = 16384  # rows of the objective at a time
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier of cells, on standardised channels.

    Attributes:
        weight: (C, K), for features as the encoder gives them: the standardisation is folded in.
        bias: (K,).
        converged: Whether training reached the minimum, or stopped at its limit of iterations.
    """

    weight: Tensor
    bias: Tensor
    converged: bool

    def __call__(self, maps: Tensor) -> Tensor:
        """(C, h, w) -> logits (K, h, w)."""
        return torch.einsum('chw,ck->khw', maps, self.weight) + self.bias[:, None, None]


def fit_linear_head(
    features: Tensor,
    shares: Tensor,
    *,
    weight_decay: float = 1e-4,
    max_iterations: int = 500,
    progress: bool = False,
) -> LinearHead:
    """The linear head of least cross-entropy, by L-BFGS: no learning rate, so no encoder is favoured by its choice.

    The target of a cell is the share of its pixels that each label has, so that the loss is that of all its pixels.

    Args:
        features: (N, C) of cells.
        shares: (N, K), in [0, 1]; rows sum to 1.
        weight_decay: The penalty is ``weight_decay / 2 * |W|^2`` on standardised channels.
        max_iterations: Of L-BFGS.
        progress: Show a progress bar.
    """
    deviation, mean = torch.std_mean(features.float(), dim=0, correction=0)
    # A constant channel carries nothing: it becomes 0, not rounding noise blown up.
    factor = torch.where(deviation <= 1e-6 * mean.abs().clamp(min=1e-6), 0.0, 1 / deviation)
    # In float32 the line search stalls before the minimum.
    options = {'dtype': torch.float64, 'device': features.device, 'requires_grad': True}
    weight = torch.zeros(features.shape[1], shares.shape[1], **options)
    bias = torch.zeros(shares.shape[1], **options)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=max_iterations,
        max_eval=max_iterations * 5 // 4,
        tolerance_grad=_TOLERANCE,
        tolerance_change=0,
        line_search_fn='strong_wolfe',
    )
    # How many evaluations it takes is not known before: the bar ends early as a rule.
    limit = optimizer.param_groups[0]['max_eval']
    with tqdm(total=limit, desc='linear head, at most', unit='evaluation', disable=not progress) as bar:

        def objective() -> Tensor:
            optimizer.zero_grad()
            loss = weight_decay / 2 * weight.square().sum()
            loss.backward()
            for rows, targets in zip(features.split(_ROWS), shares.split(_ROWS), strict=True):
                logits = ((rows.float() - mean) * factor).double() @ weight + bias
                part = F.cross_entropy(logits, targets.double(), reduction='sum') / len(features)
                part.backward()
                loss = loss.detach() + part.detach()
            bar.update()
            return loss

        optimizer.step(objective)
        objective()
    slope = max(weight.grad.abs().max().item(), bias.grad.abs().max().item())
    folded = weight.detach() * factor.double()[:, None]
    shift = bias.detach() - mean.double() @ folded
    return LinearHead(folded.float(), shift.float(), slope <= _TOLERANCE)


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Compare the logits of cells, brought to the size of the labels, with them.

    Args:
        logits: (K, h, w).
        labels: (H, W), integers in [0, K).

    Returns:
        (K, K) counts of pixels, on the CPU: rows are labels, columns are guesses.
    """
    count = len(logits)
    guesses = F.interpolate(logits[None].float(), tuple(labels.shape), mode='bilinear')[0].argmax(dim=0)
    pairs = labels.to(guesses.device) * count + guesses
    return torch.bincount(pairs.flatten(), minlength=count * count).reshape(count, count).cpu()


def intersection_over_union(counts: Tensor) -> Tensor:
    """Per class, in percent, from :func:`confusion` summed over images: (K, K) -> (K,) float64."""
    counts = counts.double()
    hits = counts.diagonal()
    return 100 * hits / (counts.sum(dim=0) + counts.sum(dim=1) - hits)
