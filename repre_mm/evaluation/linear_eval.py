"""Linear evaluation as the papers do it: augmented images through the frozen encoder, SGD, a sweep in one pass."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from mmengine.dist import is_main_process

from repre_mm.evaluation.classifiers import Batches, LinearClassifiers, Scores
from repre_mm.evaluation.features import FrozenEncoder, drop_paths, encode
from repre_mm.evaluation.linear_probe import check_sweep
from repre_mm.evaluation.linear_protocols import PROTOCOLS, lr_factor
from repre_mm.evaluation.loaders import EvaluationError, own_rows
from repre_mm.evaluation.protocol import open_splits
from repre_mm.evaluation.resuming import EvaluationState


def linear_eval(
    encoder: FrozenEncoder,
    data_root: str | os.PathLike | None,
    *,
    protocol: str,
    epochs: int | None = None,
    lrs: Sequence[float] | None = None,
    batch_size: int | None = None,
    workers: int = 2,
    amp: bool = False,
    seed: int = 0,
    progress: bool = True,
    decoding: Mapping[str, Any] | None = None,
    state: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Train linear classifiers on a frozen encoder, and score them on the validation images after every epoch.

    One classifier per learning rate, all on the same features of the same augmented images. The encoder is in
    evaluation mode throughout (no dropout, fixed statistics), but for the drop-path of a protocol that has one. The
    processes of a group call this together and share each batch; the scores do not depend on their number.

    Args:
        encoder: From :func:`repre_mm.evaluation.load_frozen_encoder`, built with the ``backbone_options`` of the
            protocol.
        data_root: Holds ``{train,val}/<class>/*``.
        protocol: A key of :data:`PROTOCOLS`.
        epochs: Instead of the protocol's; likewise ``lrs``, per ``lr_batch`` images, and ``batch_size``.
        lrs: See ``epochs``.
        batch_size: See ``epochs``; of all processes together.
        workers: Loading processes.
        amp: Run the encoder in bfloat16.
        seed: Of the classifiers and the augmentations.
        progress: Show progress bars, with the time left.
        decoding: See :func:`repre_mm.datasets.read_image`.
        state: Folder to save the training to after every epoch, and to go on from after a stop; removed at the end.

    Returns:
        What was evaluated, and under ``linear`` what :func:`repre_mm.evaluation.linear_probe` returns, after the last
        epoch, and ``best_epoch``: the best of all epochs and rates (``epoch``, ``lr``, ``top1``, ``top5``), which the
        authors report. Ready for JSON; departures from the protocol show in ``settings``.

    Raises:
        UserError: Encoder, data folder, options or ``state`` are unusable.
        repre_mm.datasets.DatasetError: The data folder holds no labelled images.
    """
    if protocol not in PROTOCOLS:
        raise EvaluationError(f'protocol={protocol!r} is unknown: choose from {", ".join(PROTOCOLS)}')
    recipe = PROTOCOLS[protocol]
    epochs, lrs = recipe.epochs if epochs is None else epochs, tuple(recipe.lrs if lrs is None else lrs)
    batch_size = recipe.batch_size if batch_size is None else batch_size
    check_sweep(epochs, batch_size, lrs)
    drop_path = bool(recipe.backbone_options)
    if drop_path and not drop_paths(encoder.module):
        raise EvaluationError(
            f'{encoder.model} has no drop-path, which acts in this protocol: build it with {recipe.backbone_options}'
        )
    loading = {'batch_size': batch_size, 'workers': workers, 'decoding': decoding}
    loading['interpolation'] = recipe.interpolation
    loader, val_loader, result = open_splits(encoder, data_root, amp=amp, seed=seed, augment=True, **loading)

    changed = {'epochs': epochs, 'lrs': list(lrs), 'batch_size': batch_size, 'seed': seed}
    settings = {**asdict(recipe), **changed}
    blank = torch.zeros(1, 3, encoder.image_size, encoder.image_size, dtype=torch.uint8)
    result['feature_width'] = encode(encoder, blank, recipe.features).shape[1]
    classifiers = LinearClassifiers(
        result['feature_width'],
        result['classes'],
        [lr * batch_size / recipe.lr_batch for lr in lrs],
        device=encoder.device,
        generator=torch.Generator().manual_seed(seed),
        **recipe.classifiers,
    )
    kept = EvaluationState(state, {**result, **settings, 'decoding': decoding, 'weights': encoder.weights_sum()})
    steps = len(loader)
    parts = len(drop_paths(encoder.module)) if drop_path else 0

    def augmented(epoch: int) -> Batches:
        # Each epoch has a seed of its own, so that a resumed training equals an uninterrupted one. What is drawn for
        # an image does not depend on the process that encodes it.
        loader.batch_sampler.seed, loader.batch_sampler.epoch = seed, epoch
        generator = torch.Generator().manual_seed((seed * 100_003 + epoch) % 2**32)
        for step, (images, labels) in enumerate(loader):
            rows = min(batch_size, result['train_images'] - step * batch_size)
            draws = own_rows(torch.rand(rows, parts, generator=generator)).T if parts else None
            vectors = encode(encoder, images, recipe.features, amp=amp, draws=draws)
            if step == 0 and not vectors.isfinite().all():  # once per epoch: it waits for the device
                raise EvaluationError('the encoder gives NaN or infinite features: it comes from a diverged training')
            yield vectors, labels

    def score() -> Scores:
        return classifiers.score(
            (encode(encoder, images, recipe.features, amp=amp), labels) for images, labels in val_loader
        )

    history = classifiers.fit(
        augmented,
        steps=steps,
        epochs=epochs,
        factor=lambda epoch, step: lr_factor(recipe, epoch, step, steps, epochs),
        score=score,
        name=recipe.name,
        progress=progress and is_main_process(),
        state=kept,
    )
    top1, top5 = history[-1]
    best = max(range(len(lrs)), key=lambda i: (top1[i], -lrs[i]))
    peak, epoch, index = max((score, e, i) for e, scores in enumerate(history) for i, score in enumerate(scores[0]))
    peak5 = history[epoch][1]
    best_epoch = {'epoch': epoch + 1, 'lr': lrs[index], 'top1': peak, 'top5': peak5[index] if peak5 else None}
    result['linear'] = {
        'protocol': recipe.name,
        'top1': top1[best],
        'top5': top5[best] if top5 else None,
        'best_lr': lrs[best],
        'per_lr': dict(zip(lrs, top1, strict=True)),
        'selection': 'best of the sweep on the validation images, after the last epoch',
        'settings': settings,
        'best_epoch': best_epoch,
    }
    kept.remove()
    return result
