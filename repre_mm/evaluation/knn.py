"""Weighted k-nearest-neighbour classification of frozen features (Wu et al., CVPR 2018; DINO, ICCV 2021)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather_object
from torch import Tensor
from tqdm import tqdm

from repre_mm.evaluation.loaders import own_rows
from repre_mm.utils.errors import UserError

#: The temperature and the numbers of neighbours of DINO's evaluation.
TEMPERATURE = 0.07
KS = (10, 20, 100, 200)
_SIMILARITIES = 2**26  # at a time


@torch.no_grad()
def knn_classify(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    *,
    k: int | Sequence[int] = KS,
    num_classes: int | None = None,
    progress: bool = False,
) -> dict[int, Tensor]:
    """Predict by the votes of the k most similar training images.

    Similarity is the cosine; a neighbour votes for its class with weight exp(similarity / 0.07). Queries are
    taken in chunks, so that similarities take 256 MB at most. The processes of a group call this together with the same
    tensors: each classifies its part of the queries, and gets all predictions.

    Args:
        train_features: The bank, (N, C), not normalised, on any device; the work is done there.
        train_labels: (N,), integers in [0, num_classes).
        test_features: The queries, (Q, C).
        k: One or several numbers of neighbours; all of them come from one pass.
        num_classes: Default: the largest training label + 1.
        progress: Show a progress bar with the time left.

    Returns:
        k -> predicted classes (Q,), int64, for each k in rising order.

    Raises:
        UserError: A k is below 1 or larger than the bank.
    """
    ks = sorted({k} if isinstance(k, int) else set(k))
    if not ks or ks[0] < 1:
        raise UserError(f'k must name one or more numbers of neighbours, each at least 1; got {ks}')
    if ks[-1] > len(train_features):
        raise UserError(
            f'k={ks[-1]} is larger than the bank of {len(train_features)} training images: choose a smaller k (--k)'
        )
    device = train_features.device
    train_labels = train_labels.to(device)
    num_classes = num_classes or int(train_labels.max()) + 1
    predictions: list[Tensor] = []  # each (Ks, B)
    bank = train_features.float()
    lengths = bank.norm(dim=1).clamp(min=1e-12)
    chunks = own_rows(test_features).split(max(1, _SIMILARITIES // len(train_features)))
    for queries in tqdm(chunks, desc='kNN', unit='chunk', disable=not progress):
        queries = F.normalize(queries.to(device).float(), dim=1)
        cosines, indices = (queries @ bank.T / lengths).topk(ks[-1], dim=1)  # (B, k), nearest first
        weights = (cosines.double() / TEMPERATURE).exp()  # float64, since many small votes decide
        votes = weights.new_zeros(len(queries), num_classes)
        guesses = []
        for first, count in pairwise([0, *ks]):
            votes.scatter_add_(1, train_labels[indices[:, first:count]], weights[:, first:count])
            guesses.append(votes.argmax(dim=1))
        predictions.append(torch.stack(guesses).cpu())
    whole = torch.cat(all_gather_object(torch.cat(predictions, dim=1)), dim=1)
    return dict(zip(ks, whole, strict=True))
