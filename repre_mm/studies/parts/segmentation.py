"""A linear head that labels pixels by patch features, and its intersection over union."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from repre_mm.evaluation.logistic import Standardise, fit_logistic


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
    fit = fit_logistic(
        features,
        shares,
        standardise,
        num_classes=shares.shape[1],
        weight_decay=1e-4,
        max_iterations=500,
        tolerance=1e-5,
        progress=progress,
    )
    folded = fit.weight * standardise.factor.double()[:, None]
    shift = fit.bias - standardise.mean.double() @ folded
    return LinearHead(folded.float(), shift.float(), fit.converged)


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
