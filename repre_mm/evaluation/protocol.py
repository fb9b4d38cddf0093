"""From a pre-training config, a checkpoint and a folder of classes to frozen features and scores."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger, print_log
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.utils.data import DataLoader

from repre_mm.checkpoint import load_encoder
from repre_mm.evaluation import knn
from repre_mm.evaluation.features import extract_features
from repre_mm.evaluation.linear_probe import linear_probe
from repre_mm.registry import DATASETS
from repre_mm.utils.errors import UserError

#: Instead of a checkpoint: the config's own random initialisation, the floor that any training has to beat.
RANDOM = 'random'


class EvaluationError(UserError):
    """A config or data folder that cannot be evaluated; the message names the culprit and the fix."""


def evaluation_pipeline(image_size: int) -> list[dict]:
    """The standard evaluation crop: short side to 256/224 of the size, bicubic, antialiased; centre crop."""
    return [
        {'type': 'repre_mm.LoadImage'},
        # Pillow's bicubic filters before it shrinks; OpenCV's does not, and aliases.
        {
            'type': 'mmpretrain.ResizeEdge',
            'scale': round(image_size * 256 / 224),
            'backend': 'pillow',
            'interpolation': 'bicubic',
        },
        {'type': 'mmpretrain.CenterCrop', 'crop_size': image_size},
        {'type': 'mmpretrain.PackInputs', 'meta_keys': ('img_path',)},
    ]


def training_pipeline(image_size: int) -> list[dict]:
    """The augmentation of linear evaluation: a random crop of 8 to 100 % of the area, bilinear; a random flip."""
    return [
        {'type': 'repre_mm.LoadImage'},
        {
            'type': 'mmpretrain.RandomResizedCrop',
            'scale': image_size,
            'crop_ratio_range': (0.08, 1.0),
            'backend': 'pillow',
            'interpolation': 'bilinear',
        },
        {'type': 'mmpretrain.RandomFlip', 'prob': 0.5},
        {'type': 'mmpretrain.PackInputs', 'meta_keys': ('img_path',)},
    ]


def image_folder_loader(
    root: str | os.PathLike,
    split: str,
    image_size: int,
    *,
    batch_size: int = 128,
    workers: int = 2,
    classes: Sequence[str] | None = None,
    strict: bool = True,
    augment: bool = False,
) -> DataLoader:
    """Batches of crops and labels from ``root/split/<class>/*``, all images, in a fixed order unless augmented.

    Args:
        root: The data set.
        split: ``'train'`` or ``'val'``.
        image_size: Of the square crop, in pixels.
        batch_size: Images per batch; the last one may be smaller.
        workers: Loading processes; 0 loads in this one.
        classes: Names of the classes in the order of their labels; default: the folder names, sorted. Give
            the training split's, so that a class without validation images does not shift the labels.
        strict: Stop at an unreadable image, since a score over replaced images would not be this data set's;
            False replaces it, for a score along the way that must not end a training.
        augment: :func:`training_pipeline` in random order, drawn from ``loader.generator``, instead of
            :func:`evaluation_pipeline` in the order of the paths.

    Returns:
        Batches of (images (B, 3, H, W) uint8 RGB, labels (B,) int64); ``loader.dataset.metainfo['classes']``
        names the labels.

    Raises:
        EvaluationError: ``root/split`` does not exist.
        repre_mm.datasets.DatasetError: It holds no images or no class folders, or unknown classes.
    """
    folder = Path(root).expanduser() / split
    if not folder.is_dir():
        raise EvaluationError(
            f'there is no folder {folder}: the data must be laid out as {root}/{{train,val}}/<class>/'
        )
    dataset = DATASETS.build(
        {
            'type': 'repre_mm.ImageFolder',
            'root': str(root),
            'split': split,
            'labels': True,
            'test_mode': strict,
            'metainfo': {'classes': tuple(classes)} if classes is not None else None,
            'pipeline': training_pipeline(image_size) if augment else evaluation_pipeline(image_size),
        }
    )
    return DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=_collate,
        shuffle=augment,
        # Workers seed their augmentations from it too, anew for every epoch.
        generator=torch.Generator() if augment else None,
    )


def _collate(items: list[dict]) -> tuple[Tensor, Tensor]:
    images = torch.stack([item['inputs'] for item in items])
    return images, torch.cat([item['data_samples'].gt_label for item in items])


def load_frozen_encoder(
    cfg: Config, checkpoint: str | os.PathLike, *, seed: int = 0, trust: bool = False
) -> tuple[nn.Module, list[float], list[float]]:
    """Build a config's encoder, fill it, and put it in evaluation mode without gradients.

    Args:
        cfg: A pre-training config: ``model`` is an algorithm with a ``backbone``, or RePre around one.
        checkpoint: A training checkpoint (encoder under ``backbone.``), or ``'random'`` for the config's own
            initialisation.
        seed: Of that initialisation.
        trust: See :func:`repre_mm.checkpoint.read_checkpoint`.

    Returns:
        The encoder on the CPU, and the training's mean and std per channel in units of [0, 255].

    Raises:
        EvaluationError: The config has no encoder or no normalisation.
        repre_mm.checkpoint.CheckpointError: The checkpoint is unreadable or does not fit.
    """
    backbone, mean, std = _encoder_config(cfg)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain'):
        if str(checkpoint) == RANDOM:
            with torch.random.fork_rng(), _quiet_log():
                torch.manual_seed(seed)
                encoder = MODELS.build(backbone)
                encoder.init_weights()
        else:
            encoder = MODELS.build(backbone)
            report = load_encoder(encoder, checkpoint, trust=trust)
            level = logging.INFO if report.complete else logging.WARNING
            print_log(f'{checkpoint}: {report.table()}', logger='current', level=level)
    encoder.eval()
    return encoder.requires_grad_(False), mean, std


@contextmanager
def _quiet_log() -> Iterator[None]:
    """Hold back MMEngine's account of how each tensor was initialised, hundreds of lines long."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _encoder_config(cfg: Config) -> tuple[dict, list[float], list[float]]:
    """The encoder's config, mean and std, wherever a plain or a wrapped algorithm keeps them."""
    source = cfg.filename or 'the config'
    model = cfg.get('model') or {}
    algorithm = model.get('algorithm') or model
    if 'backbone' not in algorithm:
        raise EvaluationError(f'{source}: neither model.backbone nor model.algorithm.backbone is there, so no encoder')
    # In the order in which training takes them: the algorithm's own, then the wrapper's, then the Runner's.
    preprocessors = [part.get('data_preprocessor') for part in (algorithm, model, cfg)]
    preprocessor = next((part for part in preprocessors if part), {})
    mean, std = preprocessor.get('mean'), preprocessor.get('std')
    if mean is None or std is None:
        raise EvaluationError(
            f'{source}: no mean and std in data_preprocessor, model.data_preprocessor or '
            'model.algorithm.data_preprocessor, so the normalisation of the training is unknown'
        )
    if max(std) <= 1:
        raise EvaluationError(f'{source}: std={list(std)} of the data preprocessor must be in units of 0-255, not 0-1')
    return algorithm['backbone'], list(mean), list(std)


def evaluate_config(
    cfg: Config,
    checkpoint: str | os.PathLike,
    data_root: str | os.PathLike | None = None,
    *,
    protocols: Sequence[str] = ('knn', 'linear'),
    knn_options: dict[str, Any] | None = None,
    linear_options: dict[str, Any] | None = None,
    batch_size: int = 128,
    workers: int = 2,
    device: torch.device | str = 'cpu',
    amp: bool = False,
    seed: int = 0,
    trust: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Score a config's frozen encoder; both scores come from one extraction of the features.

    Args:
        cfg: See :func:`load_frozen_encoder`; ``cfg.image_size`` is the crop.
        checkpoint: A path or ``'random'``.
        data_root: Holds ``{train,val}/<class>/*``; default: ``cfg.data_root``.
        protocols: ``'knn'``, ``'linear'`` or both.
        knn_options: ``k`` (a list) and ``temperature`` of :func:`repre_mm.evaluation.knn_classify`.
        linear_options: Keywords for :func:`repre_mm.evaluation.linear_probe` (``epochs``, ``lrs``,
            ``solver``, ...).
        batch_size: Of the extraction.
        workers: Loading processes.
        device: For the encoder and the classifiers.
        amp: Extract in bfloat16.
        seed: Of a random encoder and of the linear probe.
        trust: See :func:`repre_mm.checkpoint.read_checkpoint`.
        progress: Show progress bars.

    Returns:
        Numbers and names only, ready for JSON: what was evaluated (``config``, ``checkpoint``,
        ``image_size``, ``train_images``, ``val_images``, ``classes``, ``feature_width``, ...) and per
        protocol its settings and scores in percent, under ``knn`` (``top1``: k -> score) and ``linear`` (the
        fields of :class:`repre_mm.evaluation.LinearProbeResult`).

    Raises:
        EvaluationError: Config, data folder or options are unusable.
        repre_mm.checkpoint.CheckpointError: The checkpoint is unreadable or does not fit.
        repre_mm.datasets.DatasetError: The data folder holds no labelled images.
    """
    if not set(protocols) <= {'knn', 'linear'}:
        raise EvaluationError(f"protocols must be among 'knn' and 'linear', got {list(protocols)}")
    data_root = checked_data_root(cfg, data_root)
    encoder, mean, std = load_frozen_encoder(cfg, checkpoint, seed=seed, trust=trust)
    encoder.to(device)
    loading = {'image_size': cfg.image_size, 'batch_size': batch_size, 'workers': workers}
    # Faults of data and options show before the first image is read.
    train_loader = image_folder_loader(data_root, 'train', **loading)
    classes = train_loader.dataset.metainfo['classes']
    val_loader = image_folder_loader(data_root, 'val', classes=classes, **loading)
    knn_options = {'k': knn.KS, 'temperature': knn.TEMPERATURE, **(knn_options or {})}
    if 'knn' in protocols and max(knn_options['k']) > len(train_loader.dataset):
        raise EvaluationError(
            f'k={max(knn_options["k"])} is larger than the {len(train_loader.dataset)} training images: '
            'choose a smaller k (--k on the command line)'
        )
    extraction = {'mean': mean, 'std': std, 'device': device, 'amp': amp, 'progress': progress}
    train_features, train_labels = extract_features(encoder, train_loader, **extraction)
    val_features, val_labels = extract_features(encoder, val_loader, **extraction)
    train_features, val_features = train_features.to(device), val_features.to(device)

    result = describe(cfg, checkpoint, train_loader, val_loader, seed=seed, amp=amp)
    result['feature_width'] = train_features.shape[1]
    features = train_features, train_labels, val_features
    try:
        if 'knn' in protocols:
            guesses = knn.knn_classify(*features, num_classes=len(classes), progress=progress, **knn_options)
            top1 = {k: 100 * (guess == val_labels).sum().item() / len(guess) for k, guess in guesses.items()}
            result['knn'] = {'protocol': 'knn-v1', 'temperature': knn_options['temperature'], 'top1': top1}
        if 'linear' in protocols:
            options = {'seed': seed, 'progress': progress, **(linear_options or {})}
            result['linear'] = asdict(linear_probe(*features, val_labels, **options))
    except ValueError as error:  # settings that the functions refuse, such as a temperature of 0
        raise EvaluationError(str(error)) from error
    return result


def checked_data_root(cfg: Config, data_root: str | os.PathLike | None) -> str | os.PathLike:
    """The data folder: the one given or else the config's; checks that the crop is known too.

    Raises:
        EvaluationError: There is no folder named, or no ``image_size``.
    """
    data_root = data_root or cfg.get('data_root')
    if not data_root:
        raise EvaluationError(f'no data folder: give one, or set data_root in {cfg.filename or "the config"}')
    if not cfg.get('image_size'):
        raise EvaluationError(f'{cfg.filename or "the config"} does not set image_size, so the crop is unknown')
    return data_root


def describe(
    cfg: Config, checkpoint: str | os.PathLike, train: DataLoader, val: DataLoader, *, seed: int, amp: bool
) -> dict[str, Any]:
    """What was evaluated, for the head of a result; the loaders are those of :func:`image_folder_loader`."""
    return {
        'config': Path(cfg.filename).name if cfg.filename else None,
        'checkpoint': Path(checkpoint).name,
        'seed': seed,
        'image_size': cfg.image_size,
        'crop': 'short side to 256/224 of the size, bicubic; centre crop',
        'amp': amp,
        'train_images': len(train.dataset),
        'val_images': len(val.dataset),
        'classes': len(train.dataset.metainfo['classes']),
    }
