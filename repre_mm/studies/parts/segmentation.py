"""A linear head that labels pixels by patch features, and its intersection over union."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from repre_mm.evaluation.linear_probe import Standardise

_WEIGHT_DECAY, _ITERATIONS, _TOLERANCE = 1e-4, 500, 1e-5
_ROWS = 8192  # rows added to the full-batch gradient at a time


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier of cells.

    Attributes:
        weight: (C, K), with the standardisation of the channels folded in.
        bias: (K,).
        converged: Training reached the minimum before its limit of iterations.
    """

    weight: Tensor
    bias: Tensor
    converged: bool

    def __call__(self, maps: Tensor) -> Tensor:
        """(C, h, w) -> logits (K, h, w)."""
        return torch.einsum('chw,ck->khw', maps, self.weight) + self.bias[:, None, None]


def fit_linear_head(features: Tensor, shares: Tensor, *, progress: bool = False) -> LinearHead:
    """Fit the linear head of least cross-entropy by L-BFGS: no learning rate, so none that favours an encoder.

    The target of a cell is the share of its pixels that each label has, so the loss is the mean over all pixels. Weight
    decay is 1e-4 on standardised channels.

    Args:
        features: (N, C) of cells.
        shares: (N, K), in [0, 1]; rows sum to 1.
        progress: Show a progress bar.
    """
    standardise = Standardise(features)
    # In float32 the line search stalls before the minimum.
    options = {'dtype': torch.float64, 'device': features.device, 'requires_grad': True}
    weight = torch.zeros(features.shape[1], shares.shape[1], **options)
    bias = torch.zeros(shares.shape[1], **options)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=_ITERATIONS,
        max_eval=2 * _ITERATIONS,
        tolerance_grad=_TOLERANCE,
        tolerance_change=0,
        line_search_fn='strong_wolfe',
    )
    with tqdm(desc='linear head, L-BFGS', unit=' evaluations', disable=not progress) as bar:

        def objective() -> Tensor:
            optimizer.zero_grad()
            loss = _WEIGHT_DECAY / 2 * weight.square().sum()
            loss.backward()
            # Gradients add up over parts, so that the logits of a large set never exist at once.
            for inputs, wanted in zip(features.split(_ROWS), shares.split(_ROWS), strict=True):
                logits = standardise(inputs).double() @ weight + bias
                part = F.cross_entropy(logits, wanted.double(), reduction='sum') / len(features)
                part.backward()
                loss = loss.detach() + part.detach()
            bar.update()
            return loss

        optimizer.step(objective)
        objective()
    slope = max(weight.grad.abs().max().item(), bias.grad.abs().max().item())
    folded = weight.detach() * standardise.factor.double()[:, None]
    shift = bias.detach() - standardise.mean.double() @ folded
    return LinearHead(folded.float(), shift.float(), slope <= _TOLERANCE)


def confusion(logits: Tensor, labels: Tensor) -> Tensor:
    """Count pixels by label (rows) and guess (columns), with logits resized bilinearly to the labels.

    (K, h, w) and (H, W) int64 in [0, K) -> (K, K) int64 on the CPU.
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
