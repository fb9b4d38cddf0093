"""A linear head on patch features that labels pixels, and its intersection over union."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from repre_mm.evaluation.logistic import Standardise, fit_logistic

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
    standardise = Standardise(features)
    fit = fit_logistic(
        features,
        shares,
        standardise,
        num_classes=shares.shape[1],
        weight_decay=weight_decay,
        max_iterations=max_iterations,
        tolerance=_TOLERANCE,
        progress=progress,
    )
    folded = fit.weight * standardise.factor.double()[:, None]
    shift = fit.bias - standardise.mean.double() @ folded
    return LinearHead(folded.float(), shift.float(), fit.converged)


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
