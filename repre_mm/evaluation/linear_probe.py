"""Classify frozen, cached features linearly: SGD at all learning rates in one pass."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from repre_mm.evaluation.classifiers import LinearClassifiers
from repre_mm.evaluation.loaders import own_rows
from repre_mm.evaluation.resuming import EvaluationState
from repre_mm.utils.errors import UserError

#: Learning rates of the sweep. The features are standardised, so one grid serves every encoder.
LEARNING_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_HELD_OUT = 0.1
_ROWS = 8192  # rows scored at a time


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


def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    val_features: Tensor,
    val_labels: Tensor,
    *,
    epochs: int = 100,
    lrs: Sequence[float] = LEARNING_RATES,
    batch_size: int = 1024,
    seed: int = 0,
    progress: bool = False,
    state: EvaluationState | None = None,
) -> dict[str, Any]:
    """Train a linear classifier on frozen features and score it (protocol ``linear-cached-v1``).

    Channels are standardised by the training features, as by the BatchNorm without affine parameters before MAE's
    probe: encoders differ in the scale of their features by orders of magnitude. The classifier starts from zero and is
    trained by SGD with momentum 0.9, cosine decay and no weight decay. One classifier per learning rate on 90 % of the
    training features; the other 10 % choose the rate, with which one is then trained on all of them. The processes of a
    group call this together with the same tensors, and share each batch.

    Args:
        train_features: (N, C), on any device; the work is done there.
        train_labels: (N,), integers from 0.
        val_features: (M, C).
        val_labels: (M,), integers among those of the training labels.
        epochs: Passes over the training features.
        lrs: Learning rates of the sweep, not scaled with ``batch_size``.
        batch_size: Rows per step.
        seed: Of the held-out part and the order of the batches.
        progress: Show a progress bar with the time left.
        state: Where to save what is done, and to go on from after a stop.

    Returns:
        Ready for JSON: ``protocol``, the name of the procedure, to be given with every number; ``top1`` and ``top5``
        (None for five classes or fewer) on the validation features, in percent; ``best_lr``, ``per_lr`` (rate -> the
        accuracy that chose it) and in words ``selection``, how it was chosen; ``settings``, to repeat it.

    Raises:
        UserError: There are fewer than 10 training rows, validation labels without training images, or unusable
            settings.
    """
    if len(train_labels) < 10 or not len(val_labels):
        counts = f'{len(train_labels)} and {len(val_labels)}'
        raise UserError(f'need 10 training images or more and validation images; got {counts}')
    if val_labels.max() > train_labels.max():
        raise UserError(f'validation label {int(val_labels.max())} has no training images')
    check_sweep(epochs, batch_size, lrs)
    device, num_classes = train_features.device, int(train_labels.max()) + 1
    train, val = (train_features, train_labels.to(device)), (val_features.to(device), val_labels.to(device))
    standardise, generator = Standardise(train_features), torch.Generator().manual_seed(seed)

    def batches(data: tuple[Tensor, Tensor], rows: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        features, labels = data
        for batch in map(own_rows, rows.to(device).split(size)):
            yield standardise(features[batch]), labels[batch]

    def trained(name: str, rows: Tensor, rates: Sequence[float]) -> LinearClassifiers:
        classifiers = LinearClassifiers(train_features.shape[1], num_classes, rates, device=device, generator=generator)
        steps = -(-len(rows) // batch_size)
        classifiers.fit(
            lambda epoch: batches(train, rows[torch.randperm(len(rows), generator=generator)], batch_size),
            steps=steps,
            epochs=epochs,
            factor=lambda epoch, step: (1 + math.cos(math.pi * (epoch * steps + step) / (epochs * steps))) / 2,
            name=name,
            progress=progress,
            state=state or EvaluationState(None, {}),
        )
        return classifiers

    order = torch.randperm(len(train_features), generator=generator)
    held_out, fitted = order.tensor_split([round(_HELD_OUT * len(order))])
    scores, _ = trained('probe-sweep', fitted, lrs).score(batches(train, held_out, _ROWS))
    per_lr = {float(lr): score for lr, score in zip(lrs, scores, strict=True)}
    best_lr = max(per_lr, key=lambda lr: (per_lr[lr], -lr))
    top1, top5 = trained('probe-refit', order, [best_lr]).score(batches(val, torch.arange(len(val_labels)), _ROWS))
    return {
        'protocol': 'linear-cached-v1',
        'top1': top1[0],
        'top5': top5[0] if top5 else None,
        'best_lr': best_lr,
        'per_lr': per_lr,
        'selection': 'best on 10 % of the training images, held out for it; then refitted on all training images',
        'settings': {'epochs': epochs, 'batch_size': batch_size, 'seed': seed},
    }


def check_sweep(epochs: int, batch_size: int, lrs: Sequence[float]) -> None:
    """Refuse settings of a sweep that are not positive.

    Raises:
        UserError: One is not.
    """
    if epochs < 1 or batch_size < 1 or not lrs or min(lrs) <= 0:
        raise UserError(f'epochs={epochs}, batch_size={batch_size} and all of lrs={tuple(lrs)} must be positive')
