"""Linear evaluation as the papers do it: augmented images through the frozen encoder, SGD, a sweep in one pass."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from repre_mm.evaluation.classifiers import LinearClassifiers, count_hits
from repre_mm.evaluation.features import probe_features
from repre_mm.evaluation.linear_probe import LinearProbeResult
from repre_mm.evaluation.linear_protocols import PROTOCOLS, LinearProtocol, features_for, lr_factor
from repre_mm.evaluation.protocol import (
    EvaluationError,
    checked_data_root,
    describe,
    image_folder_loader,
    load_frozen_encoder,
)
from repre_mm.utils.modules import eval_mode


def linear_eval(
    cfg: Config,
    checkpoint: str | os.PathLike,
    data_root: str | os.PathLike | None = None,
    *,
    protocol: str,
    epochs: int | None = None,
    lrs: Sequence[float] | None = None,
    batch_size: int | None = None,
    workers: int = 2,
    device: torch.device | str = 'cpu',
    amp: bool = False,
    seed: int = 0,
    trust: bool = False,
    progress: bool = True,
    state: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Train linear classifiers on a config's frozen encoder, and score them on the validation images.

    One classifier per learning rate, all on the same features of the same augmented images. The encoder is in
    evaluation mode throughout: no drop-path, no dropout, fixed statistics.

    Args:
        cfg: See :func:`repre_mm.evaluation.load_frozen_encoder`; ``cfg.image_size`` is the crop.
        checkpoint: A path or ``'random'``.
        data_root: Holds ``{train,val}/<class>/*``; default: ``cfg.data_root``.
        protocol: A key of :data:`PROTOCOLS`.
        epochs: Instead of the protocol's.
        lrs: Likewise, per ``lr_batch`` images.
        batch_size: Likewise.
        workers: Loading processes.
        device: For the encoder and the classifiers.
        amp: Run the encoder in bfloat16.
        seed: Of a random encoder, the classifiers and the augmentations.
        trust: See :func:`repre_mm.checkpoint.read_checkpoint`.
        progress: Show progress bars, with the time left.
        state: A file to keep the training in after every epoch, to go on from after a stop; removed at the end.

    Returns:
        Numbers and names only, ready for JSON: what was evaluated, and under ``linear`` the fields of
        :class:`repre_mm.evaluation.LinearProbeResult`. Departures from the protocol show in ``settings``.

    Raises:
        EvaluationError: Config, data folder, options or ``state`` are unusable.
        repre_mm.checkpoint.CheckpointError: The checkpoint is unreadable or does not fit.
        repre_mm.datasets.DatasetError: The data folder holds no labelled images.
    """
    if protocol not in PROTOCOLS:
        raise EvaluationError(f'protocol={protocol!r} is unknown: choose from {", ".join(PROTOCOLS)}')
    recipe = PROTOCOLS[protocol]
    epochs, lrs = recipe.epochs if epochs is None else epochs, tuple(recipe.lrs if lrs is None else lrs)
    batch_size = recipe.batch_size if batch_size is None else batch_size
    if epochs < 1 or batch_size < 1 or not lrs or min(lrs) <= 0:
        raise EvaluationError(f'epochs={epochs}, batch_size={batch_size} and all of lrs={lrs} must be positive')
    data_root = checked_data_root(cfg, data_root)
    encoder, mean, std = load_frozen_encoder(cfg, checkpoint, seed=seed, trust=trust)
    loading = {'image_size': cfg.image_size, 'batch_size': batch_size, 'workers': workers}
    train_loader = image_folder_loader(data_root, 'train', augment=True, **loading)
    val_loader = image_folder_loader(data_root, 'val', classes=train_loader.dataset.metainfo['classes'], **loading)
    features = features_for(encoder, recipe)
    frozen = _Frozen(encoder.to(device), mean, std, features, torch.device(device), amp)

    result = describe(cfg, checkpoint, train_loader, val_loader, seed=seed, amp=amp)
    settings = {
        **{field.name: getattr(recipe, field.name) for field in fields(recipe)},
        **{'epochs': epochs, 'lrs': list(lrs), 'batch_size': batch_size, 'features': features, 'seed': seed},
    }
    # What a kept training must have been made with: the weights too, as a file may be written over.
    weights = sum(value.double().abs().sum().item() for value in encoder.state_dict().values())
    try:
        result['feature_width'] = frozen.width(cfg.image_size)
    except ValueError as error:
        raise EvaluationError(str(error)) from error
    classifiers = LinearClassifiers(
        result['feature_width'],
        result['classes'],
        [lr * batch_size / recipe.lr_batch for lr in lrs],
        device=device,
        init_std=recipe.init_std,
        nesterov=recipe.nesterov,
        generator=torch.Generator().manual_seed(seed),
    )
    kept = _Kept(state, {**result, **settings, 'weights': weights})
    _train(classifiers, frozen, train_loader, recipe, epochs, seed, kept, progress)
    top1, top5 = _score(classifiers, frozen, val_loader, progress)
    best = max(range(len(lrs)), key=lambda i: (top1[i], -lrs[i]))
    result['linear'] = asdict(
        LinearProbeResult(
            protocol=recipe.name,
            top1=top1[best],
            top5=top5[best] if top5 else None,
            best_lr=lrs[best],
            per_lr=dict(zip(lrs, top1, strict=True)),
            selection='best of the sweep on the validation images, after the last epoch',
            settings=settings,
        )
    )
    kept.remove()
    return result


@dataclass(frozen=True)
class _Frozen:
    """The encoder with all that lies between a loader's batch and the classifiers."""

    encoder: nn.Module
    mean: list[float]
    std: list[float]
    features: str
    device: torch.device
    amp: bool

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), uint8 -> (B, C), float32."""
        mean, std = (
            torch.tensor(v, dtype=torch.float32, device=self.device).view(-1, 1, 1) for v in (self.mean, self.std)
        )
        images = (images.to(self.device, non_blocking=True).float() - mean) / std
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.amp):
            return probe_features(self.encoder, images, self.features).float()

    def width(self, image_size: int) -> int:
        return self(torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8)).shape[1]


class _Kept:
    """The training on disk after its last whole epoch."""

    def __init__(self, path: str | os.PathLike | None, made_with: dict[str, Any]) -> None:
        self.path = Path(path) if path else None
        self.made_with = made_with

    def load(self, classifiers: LinearClassifiers) -> int:
        """Fill the classifiers from the file, if there is one; returns the epochs that it had done."""
        if self.path is None or not self.path.is_file():
            return 0
        state = torch.load(self.path, map_location='cpu', weights_only=True)
        others = sorted(key for key, value in self.made_with.items() if state['made_with'].get(key) != value)
        if others:
            raise EvaluationError(
                f'{self.path} keeps an interrupted evaluation with other settings ({", ".join(others)}): '
                'remove it, or name another --out'
            )
        classifiers.load_state_dict(state['classifiers'])
        return state['epoch']

    def save(self, classifiers: LinearClassifiers, epoch: int) -> None:
        if self.path is None:
            return
        temporary = self.path.with_name(f'{self.path.name}.{os.getpid()}.tmp')
        torch.save({'made_with': self.made_with, 'epoch': epoch, 'classifiers': classifiers.state_dict()}, temporary)
        temporary.replace(self.path)

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _train(
    classifiers: LinearClassifiers,
    frozen: _Frozen,
    loader: DataLoader,
    recipe: LinearProtocol,
    epochs: int,
    seed: int,
    kept: _Kept,
    progress: bool,
) -> None:
    steps = len(loader)
    done = kept.load(classifiers)
    bar = tqdm(total=epochs * steps, initial=done * steps, desc=recipe.name, unit='batch', disable=not progress)
    with bar, eval_mode(frozen.encoder):
        for epoch in range(done, epochs):
            # Each epoch from a seed of its own, so that a stopped training goes on as if it had not been.
            loader.generator.manual_seed(seed * 100_003 + epoch)
            if loader.num_workers == 0:
                np.random.seed((seed * 100_003 + epoch) % 2**32)  # the transforms draw from numpy, in this process
            for step, (images, labels) in enumerate(loader):
                vectors = frozen(images)
                if not vectors.isfinite().all():
                    raise EvaluationError(
                        'the encoder gives NaN or infinite features: it comes from a diverged training'
                    )
                classifiers.step(vectors, labels.to(frozen.device), lr_factor(recipe, epoch, step, steps, epochs))
                bar.update()
            bar.set_postfix_str(f'epoch {epoch + 1}/{epochs}', refresh=False)
            kept.save(classifiers, epoch + 1)


@torch.no_grad()
def _score(
    classifiers: LinearClassifiers, frozen: _Frozen, loader: DataLoader, progress: bool
) -> tuple[list[float], list[float] | None]:
    """Top-1 and top-5 in percent per classifier; no top-5 for five classes or fewer."""
    weights, biases = classifiers.stacked()
    hits = {guesses: torch.zeros(len(weights), dtype=torch.float64) for guesses in (1, 5) if guesses < weights.shape[2]}
    for images, labels in tqdm(loader, desc='scoring', unit='batch', disable=not progress):
        logits = frozen(images) @ weights + biases  # (B, C) @ (L, C, K) -> (L, B, K)
        for guesses, counts in hits.items():
            counts += count_hits(logits, labels.to(logits.device), guesses).cpu()
    top1, top5 = ((100 * hits[k] / len(loader.dataset)).tolist() if k in hits else None for k in (1, 5))
    return top1, top5
