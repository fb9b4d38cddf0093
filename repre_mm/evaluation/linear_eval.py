"""Linear evaluation as the papers do it: augmented images through the frozen encoder, SGD, a sweep in one pass."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.cnn.bricks.drop import DropPath
from timm.layers import DropPath as TimmDropPath
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from repre_mm.evaluation.classifiers import LinearClassifiers, count_hits
from repre_mm.evaluation.features import probe_features
from repre_mm.evaluation.frozen import FrozenEncoder
from repre_mm.evaluation.linear_probe import LinearProbeResult
from repre_mm.evaluation.linear_protocols import PROTOCOLS, LinearProtocol, features_for, lr_factor
from repre_mm.evaluation.loaders import EvaluationError, image_folder_loader
from repre_mm.evaluation.protocol import describe
from repre_mm.models.taps import pooled
from repre_mm.utils.atomic import write_atomically
from repre_mm.utils.modules import eval_mode


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
    state: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Train linear classifiers on a frozen encoder, and score them on the validation images after every epoch.

    One classifier per learning rate, all on the same features of the same augmented images. The encoder is in
    evaluation mode throughout (no dropout, fixed statistics), but for the drop-path of a protocol that has one.

    Args:
        encoder: From :func:`repre_mm.evaluation.load_frozen_encoder`, built with the ``backbone_options`` of the
            protocol.
        data_root: Holds ``{train,val}/<class>/*``.
        protocol: A key of :data:`PROTOCOLS`.
        epochs: Instead of the protocol's; likewise ``lrs``, per ``lr_batch`` images, and ``batch_size``.
        lrs: See ``epochs``.
        batch_size: See ``epochs``.
        workers: Loading processes.
        amp: Run the encoder in bfloat16.
        seed: Of the classifiers and the augmentations.
        progress: Show progress bars, with the time left.
        state: File to save the training to after every epoch, and to continue from after a stop; removed at the end.

    Returns:
        What was evaluated, and under ``linear`` the fields of :class:`repre_mm.evaluation.LinearProbeResult`, ready for
        JSON. Departures from the protocol show in ``settings``.

    Raises:
        UserError: Encoder, data folder, options or ``state`` are unusable.
        repre_mm.datasets.DatasetError: The data folder holds no labelled images.
    """
    if protocol not in PROTOCOLS:
        raise EvaluationError(f'protocol={protocol!r} is unknown: choose from {", ".join(PROTOCOLS)}')
    recipe = PROTOCOLS[protocol]
    epochs, lrs = recipe.epochs if epochs is None else epochs, tuple(recipe.lrs if lrs is None else lrs)
    batch_size = recipe.batch_size if batch_size is None else batch_size
    if epochs < 1 or batch_size < 1 or not lrs or min(lrs) <= 0:
        raise EvaluationError(f'epochs={epochs}, batch_size={batch_size} and all of lrs={lrs} must be positive')
    loading = {'image_size': encoder.image_size, 'batch_size': batch_size, 'workers': workers}
    train_loader = image_folder_loader(data_root, 'train', augment=True, **loading)
    classes = train_loader.dataset.metainfo['classes']
    val_loader = image_folder_loader(data_root, 'val', classes=classes, interpolation=recipe.interpolation, **loading)
    features = features_for(encoder.module, recipe)
    probe = _Probe(encoder, features, amp, recipe.drop_path)

    result = describe(encoder, train_loader, val_loader, seed=seed, amp=amp, interpolation=recipe.interpolation)
    changed = {'epochs': epochs, 'lrs': list(lrs), 'batch_size': batch_size, 'features': features, 'seed': seed}
    settings = {**asdict(recipe), **changed}
    blank = torch.zeros(1, 3, encoder.image_size, encoder.image_size, dtype=torch.uint8)
    result['feature_width'] = probe(blank).shape[1]
    classifiers = LinearClassifiers(
        result['feature_width'],
        result['classes'],
        [lr * batch_size / recipe.lr_batch for lr in lrs],
        device=encoder.device,
        init_std=recipe.init_std,
        nesterov=recipe.nesterov,
        label_smoothing=recipe.label_smoothing,
        clip=recipe.clip,
        generator=torch.Generator().manual_seed(seed),
    )
    # A saved training must have been made with the same weights too: their file may have been overwritten.
    weights = sum(value.double().abs().sum().item() for value in encoder.module.state_dict().values())
    saved = _SavedTraining(state, {**result, **settings, 'weights': weights})
    history = _train(classifiers, probe, train_loader, val_loader, recipe, epochs, seed, saved, progress)
    top1, top5 = history[-1]
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
            best_epoch=_best_epoch(history, lrs),
        )
    )
    saved.remove()
    return result


# Top-1 and top-5 (None for five classes or fewer) in percent, per classifier.
_Scores = tuple[list[float], list[float] | None]


def _best_epoch(history: list[_Scores], lrs: Sequence[float]) -> dict[str, float | None]:
    """Find the best of all epochs and rates on the validation images, which the authors report."""
    epoch, index = max(
        ((e, i) for e in range(len(history)) for i in range(len(lrs))), key=lambda at: (history[at[0]][0][at[1]], *at)
    )
    top1, top5 = history[epoch]
    return {'epoch': epoch + 1, 'lr': lrs[index], 'top1': top1[index], 'top5': top5[index] if top5 else None}


@dataclass(frozen=True)
class _Probe:
    """What lies between a loader's batch and the classifiers."""

    encoder: FrozenEncoder
    features: str
    amp: bool
    drop_path: float

    def __post_init__(self) -> None:
        if self.drop_path and not _drop_paths(self.encoder.module):
            raise EvaluationError(
                f'{self.encoder.model} has no drop-path, which this protocol runs at {self.drop_path}: build the '
                f'encoder with drop_path_rate={self.drop_path}'
            )

    def __call__(self, images: Tensor, training: bool = False) -> Tensor:
        """(B, 3, H, W), uint8 -> (B, C), float32."""
        encoder = self.encoder.module
        images = self.encoder.normalised(images)
        with eval_mode(encoder), torch.autocast(images.device.type, torch.bfloat16, self.amp), torch.no_grad():
            if not (training and self.drop_path):
                return probe_features(encoder, images, self.features).float()
            for module in _drop_paths(encoder):
                module.train()
            return pooled(encoder(images)).float()


def _drop_paths(encoder: nn.Module) -> list[nn.Module]:
    return [module for module in encoder.modules() if isinstance(module, (DropPath, TimmDropPath))]


class _SavedTraining:
    """The training on disk after its last whole epoch; without a path nothing is saved."""

    def __init__(self, path: str | os.PathLike | None, made_with: dict[str, Any]) -> None:
        self.path = Path(path) if path else None
        self.made_with = made_with

    def load(self, classifiers: LinearClassifiers) -> list[_Scores]:
        """Restore the classifiers, if there is a file, and return the scores of the epochs done."""
        if self.path is None or not self.path.is_file():
            return []
        state = torch.load(self.path, map_location='cpu', weights_only=True)
        others = sorted(key for key, value in self.made_with.items() if state['made_with'].get(key) != value)
        if others:
            raise EvaluationError(
                f'{self.path} is of an interrupted evaluation with other settings ({", ".join(others)}): '
                'remove it, or name another --out'
            )
        classifiers.load_state_dict(state['classifiers'])
        return state['history']

    def save(self, classifiers: LinearClassifiers, history: list[_Scores]) -> None:
        if self.path is not None:
            state = {'made_with': self.made_with, 'history': history, 'classifiers': classifiers.state_dict()}
            write_atomically(self.path, lambda draft: torch.save(state, draft))

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _train(
    classifiers: LinearClassifiers,
    probe: _Probe,
    loader: DataLoader,
    val_loader: DataLoader,
    recipe: LinearProtocol,
    epochs: int,
    seed: int,
    saved: _SavedTraining,
    progress: bool,
) -> list[_Scores]:
    """Train, and score after every epoch."""
    steps = len(loader)
    history = saved.load(classifiers)
    done = len(history)
    bar = tqdm(total=epochs * steps, initial=done * steps, desc=recipe.name, unit='batch', disable=not progress)
    with bar, torch.random.fork_rng():
        for epoch in range(done, epochs):
            # Each epoch has a seed of its own, so that a resumed training equals an uninterrupted one.
            epoch_seed = (seed * 100_003 + epoch) % 2**32
            loader.generator.manual_seed(epoch_seed)
            torch.manual_seed(epoch_seed)  # of drop-path
            if loader.num_workers == 0:
                np.random.seed(epoch_seed)  # the transforms draw from numpy, in this process
            for step, (images, labels) in enumerate(loader):
                vectors = probe(images, training=True)
                if step == 0 and not vectors.isfinite().all():  # once per epoch: it waits for the device
                    raise EvaluationError(
                        'the encoder gives NaN or infinite features: it comes from a diverged training'
                    )
                classifiers.step(vectors, labels.to(vectors.device), lr_factor(recipe, epoch, step, steps, epochs))
                bar.update()
            history.append(_score(classifiers, probe, val_loader))
            bar.set_postfix_str(f'epoch {epoch + 1}/{epochs}, top-1 {max(history[-1][0]):.2f} %', refresh=False)
            saved.save(classifiers, history)
    return history


@torch.no_grad()
def _score(classifiers: LinearClassifiers, probe: _Probe, loader: DataLoader) -> _Scores:
    weights, biases = classifiers.stacked()
    hits = {guesses: torch.zeros(len(weights), dtype=torch.float64) for guesses in (1, 5) if guesses < weights.shape[2]}
    for images, labels in loader:
        logits = probe(images) @ weights + biases  # (B, C) @ (L, C, K) -> (L, B, K)
        for guesses, counts in hits.items():
            counts += count_hits(logits, labels.to(logits.device), guesses).cpu()
    top1, top5 = ((100 * hits[k] / len(loader.dataset)).tolist() if k in hits else None for k in (1, 5))
    return top1, top5
