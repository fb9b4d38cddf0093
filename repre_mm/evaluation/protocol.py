"""Score a frozen encoder by kNN and a linear probe, from one extraction of its features."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size, is_main_process
from torch.utils.data import DataLoader

from repre_mm.evaluation import knn
from repre_mm.evaluation.encoders import EncoderName, load_frozen_encoder
from repre_mm.evaluation.features import FrozenEncoder, extract_features
from repre_mm.evaluation.linear_probe import linear_probe
from repre_mm.evaluation.loaders import EvaluationError, image_folder_loader
from repre_mm.evaluation.resuming import EvaluationState


def evaluate_encoder(
    encoder: FrozenEncoder,
    data_root: str | os.PathLike | None,
    *,
    protocols: Sequence[str] = ('knn', 'linear'),
    knn_options: dict[str, Any] | None = None,
    linear_options: dict[str, Any] | None = None,
    batch_size: int = 128,
    workers: int = 2,
    amp: bool = False,
    seed: int = 0,
    progress: bool = True,
    decoding: Mapping[str, Any] | None = None,
    state: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Score a frozen encoder; both scores come from one extraction of the features.

    The processes of a group call this together, share the work, and get the same result.

    Args:
        encoder: See :func:`repre_mm.evaluation.load_frozen_encoder`.
        data_root: Holds ``{train,val}/<class>/*``.
        protocols: ``'knn'``, ``'linear'`` or both.
        knn_options: ``k``, a list; default: those of ``knn.KS`` that the training images allow.
        linear_options: Keywords for :func:`repre_mm.evaluation.linear_probe`.
        batch_size: Of the extraction, in each process.
        workers: Loading processes.
        amp: Extract in bfloat16.
        seed: Of the linear probe.
        progress: Show progress bars.
        decoding: See :func:`repre_mm.datasets.read_image`.
        state: Folder to save features and classifiers to, and to go on from after a stop; removed at the end.

    Returns:
        What was evaluated, see :func:`open_splits`, and per protocol its settings and scores in percent, under ``knn``
        (``top1``: k -> score) and ``linear`` (see :func:`repre_mm.evaluation.linear_probe`).

    Raises:
        UserError: Data folder or options are unusable.
        repre_mm.datasets.DatasetError: The data folder holds no labelled images.
    """
    if not set(protocols) <= {'knn', 'linear'}:
        raise EvaluationError(f"protocols must be among 'knn' and 'linear', got {list(protocols)}")
    # Faults of the data show before the first image is read.
    loading = {'batch_size': batch_size * get_world_size(), 'workers': workers, 'decoding': decoding}
    train, val, result = open_splits(encoder, data_root, amp=amp, seed=seed, augment=False, **loading)
    usual = [k for k in knn.KS if k <= result['train_images']] or [result['train_images']]
    knn_options = {'k': usual, **(knn_options or {})}
    made_with = {**result, 'decoding': decoding, 'weights': encoder.weights_sum(), 'linear': linear_options}
    kept, progress = EvaluationState(state, made_with), progress and is_main_process()
    options = {'amp': amp, 'progress': progress, 'state': kept}
    train_features, train_labels = extract_features(encoder, train, name='train', **options)
    val_features, val_labels = extract_features(encoder, val, name='val', **options)
    features = train_features.to(encoder.device), train_labels, val_features.to(encoder.device)
    result['feature_width'] = train_features.shape[1]
    if 'knn' in protocols:
        guesses = knn.knn_classify(*features, num_classes=result['classes'], progress=progress, **knn_options)
        top1 = {k: 100 * (guess == val_labels).sum().item() / len(guess) for k, guess in guesses.items()}
        result['knn'] = {'protocol': 'knn-v1', 'temperature': knn.TEMPERATURE, 'top1': top1}
    if 'linear' in protocols:
        options = {'seed': seed, 'progress': progress, **(linear_options or {})}
        result['linear'] = linear_probe(*features, val_labels, state=kept, **options)
    kept.remove()
    return result


def evaluate_config(
    cfg: Config,
    checkpoint: str | os.PathLike,
    data_root: str | os.PathLike | None = None,
    *,
    device: torch.device | str = 'cpu',
    seed: int = 0,
    prefix: str | None = None,
    network: str | None = None,
    trust: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """:func:`evaluate_encoder` for a config and a checkpoint (or ``'random'``), on the config's ``data_root``."""
    loading = {'device': device, 'seed': seed, 'prefix': prefix, 'network': network, 'trust': trust}
    frozen = load_frozen_encoder(EncoderName(cfg, str(checkpoint)), **loading)
    return evaluate_encoder(frozen, data_root or cfg.get('data_root'), seed=seed, **options)


def open_splits(
    encoder: FrozenEncoder, data_root: str | os.PathLike | None, *, amp: bool, seed: int, augment: bool, **loading: Any
) -> tuple[DataLoader, DataLoader, dict[str, Any]]:
    """Open training and validation images, and describe what is evaluated, for the head of a result.

    ``loading`` is ``batch_size``, ``workers`` and, for the validation images, ``interpolation``.
    """
    interpolation = loading.pop('interpolation', 'bicubic')
    train = image_folder_loader(data_root, 'train', encoder.image_size, augment=augment, **loading)
    loading |= {'classes': train.dataset.metainfo['classes'], 'interpolation': interpolation}
    val = image_folder_loader(data_root, 'val', encoder.image_size, **loading)
    description = {
        'config': encoder.model,
        'checkpoint': encoder.weights,
        'encoder': encoder.network,
        'seed': seed,
        'image_size': encoder.image_size,
        'crop': f'short side to 256/224 of the size, {interpolation}; centre crop',
        'amp': amp,
        'train_images': len(train.dataset),
        'val_images': len(val.dataset),
        'classes': len(loading['classes']),
    }
    return train, val, description
