"""Numbers that tell an encoder that learns from one that gives everything the same answer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def embedding_std(embeddings: Tensor) -> float:
    """How far apart the embeddings of different images are (SimSiam, arXiv 2011.10566, Sec. 4.1 and Fig. 2).

    Args:
        embeddings: (B, D), B >= 2, of any length.

    Returns:
        The standard deviation over the images of each channel of the unit-length embeddings, averaged over channels,
        times the root of D: 0 where all are the same, about 1 where they point in all directions alike.
    """
    unit = F.normalize(embeddings.float(), dim=1)
    return unit.std(dim=0, correction=0).mean().item() * embeddings.shape[1] ** 0.5


def effective_rank(embeddings: Tensor) -> float:
    """How many directions the embeddings use: RankMe (Garrido et al., ICML 2023, arXiv 2210.02885, Eq. 1).

    Args:
        embeddings: (B, D), of any length; each is scaled to unit length first.

    Returns:
        The exponential of the entropy of the singular values, as shares of their sum: 1 where all embeddings lie on one
        line, min(B, D) where they fill their space evenly; 0 where all are zero.
    """
    values = torch.linalg.svdvals(F.normalize(embeddings.float(), dim=1))
    shares = values / values.sum().clamp(min=1e-12)
    if not values.sum() > 0:
        return 0.0
    return torch.special.entr(shares).sum().exp().item()


def target_entropies(logits: Tensor) -> tuple[float, float]:
    """How sure the targets are of their output, and over how many outputs they are spread (DINO, Sec. 5.3).

    Args:
        logits: (B, K), centred and divided by the temperature.

    Returns:
        In nats, in [0, log K]: the mean entropy of an image's target; the entropy of the mean target. Their difference
        is what a target says about its image: 0 in both collapses, on one output (both are 0) and on all alike (log K).
    """
    targets = F.softmax(logits.float(), dim=1)
    single = torch.special.entr(targets).sum(dim=1).mean()
    together = torch.special.entr(targets.mean(dim=0)).sum()
    return single.item(), together.item()


def top1(logits: Tensor, labels: Tensor) -> float:
    """Per cent of rows whose largest logit is the label's; (B, N) and (B,)."""
    return 100 * (logits.argmax(dim=1) == labels).float().mean().item()
