"""Weighted k-nearest-neighbour classification of frozen features (Wu et al., CVPR 2018; DINO, ICCV 2021)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from repre_mm.utils.errors import UserError

#: The temperature and the numbers of neighbours of DINO's evaluation.
TEMPERATURE = 0.07
KS = (10, 20, 100, 200)


def knn_classify(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    *,
    k: int | Sequence[int] = KS,
    temperature: float = TEMPERATURE,
    num_classes: int | None = None,
    query_chunk: int = 512,
    bank_chunk: int = 16384,
    progress: bool = False,
) -> dict[int, Tensor]:
    """Predict by the votes of the k most similar training images.

    Similarity is the cosine; a neighbour votes for its class with weight exp(similarity / temperature). Both
    sides are read in chunks, and a running list of the nearest neighbours is merged with each chunk of the
    bank, so memory beyond the inputs does not grow with them. Of equally similar neighbours the earlier one
    in the bank counts as nearer; of equal votes the lower class wins.

    Args:
        train_features: The bank, (N, C), not normalised, on any device; the work is done there.
        train_labels: (N,), integers in [0, num_classes).
        test_features: The queries, (Q, C).
        k: One or several numbers of neighbours; all of them come from one pass.
        temperature: Of the votes; positive.
        num_classes: Default: the largest training label + 1.
        query_chunk: Queries at a time.
        bank_chunk: Bank rows at a time. Memory beyond the inputs is about 5 bytes *
            query_chunk * bank_chunk.
        progress: Show a progress bar with the time left.

    Returns:
        k -> predicted classes (Q,), int64, for each k in rising order.

    Raises:
        UserError: A k is below 1 or larger than the bank, the temperature is not positive, or shapes
            disagree.
    """
    ks = sorted({k} if isinstance(k, int) else set(k))
    _check(train_features, train_labels, test_features, ks, temperature)
    device = train_features.device
    train_labels = train_labels.to(device)
    if num_classes is None:
        num_classes = int(train_labels.max()) + 1
    elif train_labels.max() >= num_classes:
        raise UserError(f'training label {int(train_labels.max())} is not below num_classes={num_classes}')
    predictions: dict[int, list[Tensor]] = {count: [] for count in ks}
    steps = -(-len(test_features) // query_chunk) * -(-len(train_features) // bank_chunk)
    with torch.no_grad(), tqdm(total=steps, desc='kNN', unit='chunk', disable=not progress) as bar:
        for queries in test_features.split(query_chunk):
            queries = F.normalize(queries.to(device).float(), dim=1)
            similarities, indices = _nearest(queries, train_features, ks[-1], bank_chunk, bar)
            # Relative to the nearest neighbour, so that no temperature over- or underflows; float64, since
            # many small votes decide.
            similarities = similarities.double()
            weights = ((similarities - similarities[:, :1]) / temperature).exp()
            votes = weights.new_zeros(len(queries), num_classes)
            first = 0
            for count in ks:
                votes.scatter_add_(1, train_labels[indices[:, first:count]], weights[:, first:count])
                predictions[count].append(votes.argmax(dim=1).cpu())
                first = count
    return {count: torch.cat(parts) for count, parts in predictions.items()}


def _nearest(queries: Tensor, bank: Tensor, k: int, bank_chunk: int, bar: tqdm) -> tuple[Tensor, Tensor]:
    """Cosine similarities and bank indices of the k nearest rows, both (B, k), nearest first."""
    best = queries.new_empty(len(queries), 0)
    best_indices = best.long()
    for start in range(0, len(bank), bank_chunk):
        rows = F.normalize(bank[start : start + bank_chunk].float(), dim=1)
        values, indices = _stable_topk(queries @ rows.T, min(k, len(rows)))
        # The running list comes from earlier rows, so a stable sort keeps it ahead of its equals.
        best, order = torch.cat([best, values], dim=1).sort(dim=1, descending=True, stable=True)
        best = best[:, :k]
        best_indices = torch.cat([best_indices, indices + start], dim=1).gather(1, order[:, :k])
        bar.update()
    return best, best_indices


def _stable_topk(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row and their indices; equal values by rising index, unlike ``topk``."""
    top, indices = values.topk(k, dim=1)
    # In rising order of index first, for the stable sort of the values.
    indices = indices.sort(dim=1).values
    top, order = values.gather(1, indices).sort(dim=1, descending=True, stable=True)
    indices = indices.gather(1, order)
    # If more values equal the smallest one kept, topk may have kept any of them: only a full sort tells.
    undecided = (values >= top[:, -1:]).sum(dim=1) > k
    if undecided.any():
        full = values[undecided].sort(dim=1, descending=True, stable=True)
        top[undecided], indices[undecided] = full.values[:, :k], full.indices[:, :k]
    return top, indices


def _check(train: Tensor, labels: Tensor, test: Tensor, ks: list[int], temperature: float) -> None:
    if not ks or ks[0] < 1:
        raise UserError(f'k must name one or more numbers of neighbours, each at least 1; got {ks}')
    if ks[-1] > len(train):
        raise UserError(f'k={ks[-1]} is larger than the bank of {len(train)} training images: choose a smaller k')
    if temperature <= 0:
        raise UserError(f'temperature must be positive, got {temperature}')
    if labels.shape != train.shape[:1]:
        raise UserError(f'{len(train)} training features but labels of shape {list(labels.shape)}')
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
        raise UserError(
            f'features must be (N, C) and (Q, C) of one width; got {list(train.shape)} and {list(test.shape)}'
        )
