"""Classify frozen, cached features linearly: SGD at all learning rates in one pass, or the convex optimum."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor
from tqdm import tqdm

from repre_mm.evaluation.classifiers import LinearClassifiers, count_hits
from repre_mm.evaluation.logistic import Standardise, fit_logistic
from repre_mm.utils.errors import UserError

#: Learning rates of the sweep. The features are standardised, so one grid serves every encoder.
LEARNING_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_HELD_OUT = 0.1
_ROWS = 8192  # rows scored at a time


@dataclass(frozen=True)
class LinearProbeResult:
    """Scores of a linear classifier, in percent, and how they came about.

    Attributes:
        protocol: Name of the exact procedure, to be given with every number.
        top1: Accuracy on the validation features.
        top5: Likewise for the five best guesses; None with five classes or fewer.
        best_lr: The chosen learning rate; None for ``solver='lbfgs'``, which has none.
        per_lr: Learning rate -> the accuracy that chose ``best_lr``.
        selection: On which images and how ``best_lr`` was chosen, in words.
        settings: What else is needed to repeat it; for ``'lbfgs'`` also whether it converged.
        best_epoch: The best of all epochs and learning rates on the validation images (``epoch``, ``lr``, ``top1``,
            ``top5``), for a protocol that scores every epoch.
    """

    protocol: str
    top1: float
    top5: float | None
    best_lr: float | None
    per_lr: dict[float, float]
    selection: str
    settings: dict[str, Any]
    best_epoch: dict[str, float | None] | None = None


def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    val_features: Tensor,
    val_labels: Tensor,
    *,
    solver: Literal['sgd', 'lbfgs'] = 'sgd',
    epochs: int = 100,
    lrs: Sequence[float] = LEARNING_RATES,
    batch_size: int = 1024,
    weight_decay: float | None = None,
    seed: int = 0,
    progress: bool = False,
) -> LinearProbeResult:
    """Train a linear classifier on frozen features and score it.

    Channels are standardised by the training features, as by the BatchNorm without affine parameters before MAE's
    probe: encoders differ in the scale of their features by orders of magnitude. The classifier starts from zero.

    ``'sgd'`` (protocol ``linear-cached-v1``): momentum 0.9, cosine decay. One classifier per learning rate on 90 % of
    the training features; the other 10 % choose the rate, with which one is then trained on all of them.

    ``'lbfgs'`` (protocol ``linear-lbfgs-v1``): the minimum of the mean cross-entropy plus
    ``weight_decay / 2 * |W|^2`` (bias not decayed) over all training features, in float64. scikit-learn's
    ``LogisticRegression(C=1 / (N * weight_decay))`` solves the same problem.

    Args:
        train_features: (N, C), on any device; the work is done there.
        train_labels: (N,), integers from 0.
        val_features: (M, C).
        val_labels: (M,), integers among those of the training labels.
        solver: See above.
        epochs: Passes of ``'sgd'``; ten times as many iterations at most for ``'lbfgs'``.
        lrs: Learning rates of the sweep, not scaled with ``batch_size``.
        batch_size: Rows per step of ``'sgd'``.
        weight_decay: L2 penalty on the weights. Default: 0 for ``'sgd'``, 1e-4 for ``'lbfgs'``, where it must be
            positive, as separable classes have no optimum without it.
        seed: Of the held-out part and the order of the batches.
        progress: Show a progress bar with the time left.

    Raises:
        UserError: There are fewer than 10 training rows, validation labels without training images, or unusable
            settings.
    """
    if weight_decay is None:
        weight_decay = 1e-4 if solver == 'lbfgs' else 0.0
    _check(train_labels, val_labels, solver, epochs, lrs, batch_size, weight_decay)
    device = train_features.device
    standardise = Standardise(train_features)
    train = _Data(train_features, train_labels.to(device), standardise, int(train_labels.max()) + 1)
    val = train._replace(features=val_features.to(device), labels=val_labels.to(device))

    settings: dict[str, Any] = {'solver': solver, 'weight_decay': weight_decay}
    if solver == 'lbfgs':
        settings |= {'max_iterations': 10 * epochs}
        protocol, selection, per_lr, best_lr = 'linear-lbfgs-v1', 'nothing to choose', {}, None
        limits = {'weight_decay': weight_decay, 'max_iterations': 10 * epochs, 'progress': progress}
        fit = fit_logistic(train.features, train.labels, standardise, num_classes=train.num_classes, **limits)
        classifier, settings['converged'] = (fit.weight[None], fit.bias[None, None]), fit.converged
        if not fit.converged:
            print_log(
                f'L-BFGS stopped after {10 * epochs} iterations with a gradient of {fit.slope:.1e}, short of the '
                'optimum: give it more epochs or a larger weight_decay',
                logger='current',
                level=logging.WARNING,
            )
    else:
        settings |= {'epochs': epochs, 'batch_size': batch_size, 'seed': seed}
        protocol = 'linear-cached-v1'
        selection = 'best on 10 % of the training images, held out for it; then refitted on all training images'
        recipe = {'epochs': epochs, 'batch_size': batch_size, 'weight_decay': weight_decay, 'progress': progress}
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(train_features), generator=generator)
        held_out, fitted = order.tensor_split([round(_HELD_OUT * len(order))])
        sweep = _train_sgd(train, fitted, lrs, generator=generator, **recipe)
        scores = _accuracy(train, sweep, rows=held_out).tolist()
        per_lr = {float(lr): score for lr, score in zip(lrs, scores, strict=True)}
        best_lr = max(per_lr, key=lambda lr: (per_lr[lr], -lr))
        classifier = _train_sgd(train, order, [best_lr], generator=generator, **recipe)

    top1 = _accuracy(val, classifier).item()
    top5 = _accuracy(val, classifier, guesses=5).item() if train.num_classes > 5 else None
    return LinearProbeResult(protocol, top1, top5, best_lr, per_lr, selection, settings)


class _Data(NamedTuple):
    features: Tensor
    labels: Tensor
    standardise: Standardise
    num_classes: int


#: Weights (L, C, K) and biases (L, 1, K) of L classifiers.
_Classifiers = tuple[Tensor, Tensor]


def _train_sgd(
    data: _Data,
    rows: Tensor,
    lrs: Sequence[float],
    *,
    epochs: int,
    batch_size: int,
    weight_decay: float,
    generator: torch.Generator,
    progress: bool,
) -> _Classifiers:
    """One classifier per learning rate on the same batches of ``rows``, side by side."""
    device = data.features.device
    options = {'device': device, 'weight_decay': weight_decay}
    classifiers = LinearClassifiers(data.features.shape[1], data.num_classes, lrs, **options)
    steps = epochs * -(-len(rows) // batch_size)
    step = 0
    name = f'linear probe, {len(lrs)} learning rate{"s" if len(lrs) > 1 else ""}'
    for _ in tqdm(range(epochs), desc=name, unit='epoch', disable=not progress):
        shuffled = rows[torch.randperm(len(rows), generator=generator)].to(device)
        for batch in shuffled.split(batch_size):
            cosine = (1 + math.cos(math.pi * step / steps)) / 2
            classifiers.step(data.standardise(data.features[batch]), data.labels[batch], cosine)
            step += 1
    return classifiers.stacked()


@torch.no_grad()
def _accuracy(data: _Data, classifiers: _Classifiers, *, guesses: int = 1, rows: Tensor | None = None) -> Tensor:
    """Percent of the rows (default: all) whose label is among the best guesses, per classifier: (L,)."""
    weights, biases = classifiers
    device = data.features.device
    rows = torch.arange(len(data.labels)) if rows is None else rows
    hits = torch.zeros(len(weights), dtype=torch.float64, device=device)
    for part in rows.to(device).split(_ROWS):
        logits = data.standardise(data.features[part]).to(weights.dtype) @ weights + biases  # (L, B, K)
        hits += count_hits(logits, data.labels[part], guesses)
    return 100 * hits / len(rows)


def _check(
    train_labels: Tensor,
    val_labels: Tensor,
    solver: str,
    epochs: int,
    lrs: Sequence[float],
    batch_size: int,
    weight_decay: float,
) -> None:
    if len(train_labels) < 10 or not len(val_labels):
        counts = f'{len(train_labels)} and {len(val_labels)}'
        raise UserError(f'need 10 training images or more and validation images; got {counts}')
    if val_labels.max() > train_labels.max():
        raise UserError(f'validation label {int(val_labels.max())} has no training images')
    if solver not in ('sgd', 'lbfgs'):
        raise UserError(f"solver must be 'sgd' or 'lbfgs', got {solver!r}")
    if epochs < 1 or batch_size < 1 or weight_decay < 0 or not lrs or min(lrs) <= 0:
        raise UserError(
            f'epochs={epochs}, batch_size={batch_size} and all of lrs={tuple(lrs)} must be positive, '
            f'weight_decay={weight_decay} not negative'
        )
    if solver == 'lbfgs' and weight_decay == 0:
        raise UserError("solver='lbfgs' needs weight_decay > 0: separable classes have no optimum without it")
