"""Average precision of retrieval: every region is a query for the regions of its class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def average_precision(vectors: Tensor, labels: Tensor, names: Sequence[str], rows: int = 512) -> dict[str, Any]:
    """Rank all regions by cosine for each query, itself among them as in the study (``calc_acc``).

    Args:
        vectors: (R, D), of unit length.
        labels: (R,).
        names: Of the classes.
        rows: Queries at a time.

    Returns:
        ``ap``, the mean over queries, ``map``, the mean over classes of their means, and ``per_class``; in percent.
    """
    scores = []
    for queries, targets in zip(vectors.split(rows), labels.split(rows), strict=True):
        ranks = (queries @ vectors.T).argsort(dim=1, descending=True, stable=True)
        hits = (labels[ranks] == targets[:, None]).double()  # (Q, R), nearest first
        precision = hits.cumsum(dim=1) / torch.arange(1, len(vectors) + 1)
        scores.append((precision * hits).sum(dim=1) / hits.sum(dim=1))
    everything = 100 * torch.cat(scores)
    per_class = {
        name: everything[labels == label].mean().item() for label, name in enumerate(names) if (labels == label).any()
    }
    return {
        'ap': everything.mean().item(),
        'map': sum(per_class.values()) / len(per_class),
        'per_class': per_class,
    }
