"""Find batches, queues, workers, views and lengths of a training that cannot work."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mmengine.config import Config
from mmpretrain.models import MoCo as MMPretrainMoCo
from mmpretrain.models.selfsup import BaseSelfSupervisor
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from repre_mm.datasets import open_source
from repre_mm.engine.checks.image_folders import count_images
from repre_mm.models.repre import RePreAlgorithm
from repre_mm.models.selfsup.moby import MoBY
from repre_mm.models.selfsup.moco import MoCo

_LOOPS = ('EpochBasedTrainLoop', 'IterBasedTrainLoop')
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def num_processes() -> int:
    """Return the number of processes that torchrun or Slurm has started; 1 without them."""
    return int(os.environ.get('WORLD_SIZE') or os.environ.get('SLURM_NTASKS') or 1)


def global_batch(cfg: Config) -> int:
    """Return the number of images in a step of all processes."""
    return cfg.train_dataloader.get('batch_size', 1) * num_processes()


def loader_faults(cfg: Config) -> Iterator[str]:
    """Find numbers in data loaders and loops that torch or mmengine would refuse later."""
    for key in _LOADERS:
        loader = cfg.get(key)
        if not isinstance(loader, dict):
            continue
        batch, workers = loader.get('batch_size', 1), loader.get('num_workers', 0)
        if not _is_count(batch, least=1):
            yield f'{key}.batch_size={batch!r}: a batch has a whole number of images, 1 at least'
        if not _is_count(workers, least=0):
            yield f'{key}.num_workers={workers!r}: a whole number, 0 to load in the training process'
        elif workers == 0:
            for option in ('persistent_workers', 'prefetch_factor'):
                if loader.get(option):
                    yield f'{key}.{option}={loader[option]}: needs num_workers above 0; set it to 1 or leave it out'
    loop = cfg.get('train_cfg') or {}
    if loop and loop.get('type') in (None, *_LOOPS) and not {'max_epochs', 'max_iters'} & loop.keys():
        yield 'train_cfg: needs max_epochs=... or max_iters=...'
    for name in ('max_epochs', 'max_iters', 'val_interval'):
        if name in loop and not _is_count(loop[name], least=1):
            yield f'train_cfg.{name}={loop[name]!r}: a whole number, 1 at least'
    for split in ('val', 'test'):
        keys = [f'{split}_{part}' for part in ('dataloader', 'cfg', 'evaluator')]
        missing = [key for key in keys if cfg.get(key) is None]
        if missing and len(missing) < 3:
            there = ', '.join(key for key in keys if key not in missing)
            yield f'{", ".join(missing)}: missing, but there is {there}; set all three or none'


def batch_faults(cfg: Config, model: nn.Module) -> Iterator[str]:
    """Find batches, queues and numbers of views that the method cannot use.

    Args:
        cfg: The whole config, with sound numbers (:func:`loader_faults`).
        model: On any device; only its classes and shapes count.
    """
    method = model.algorithm if isinstance(model, RePreAlgorithm) else model
    if not isinstance(method, BaseSelfSupervisor):
        return
    path = 'model.algorithm' if method is not model else 'model'
    processes, total = num_processes(), global_batch(cfg)
    said = f'train_dataloader.batch_size={total // processes}' + (f' on {processes} processes' if processes > 1 else '')
    if isinstance(method, (MMPretrainMoCo, MoBY)):
        length = (method.queue1 if isinstance(method, MoBY) else method.queue).shape[1]
        if length < total:
            yield f'{path}.queue_len={length}: shorter than a batch of {total} images ({said}); raise it, or lower that'
        elif length % total and not isinstance(method, (MoCo, MoBY)):  # these two wrap around
            yield (
                f'{path}.queue_len={length}: not a multiple of the batch of {total} images ({said}); choose '
                f'{max(length // total, 1) * total}, or type=repre_mm.MoCo, which takes any'
            )
    heads = [child for name, child in method.named_modules() if not name.startswith(('backbone', 'momentum'))]
    if total == 1 and any(isinstance(child, _BatchNorm) for child in heads):
        yield f'{said}: BatchNorm in the heads of {type(method).__name__} needs two images at least; raise it'
    views = [step for step in cfg.train_dataloader.dataset.get('pipeline') or [] if 'num_views' in step]
    for step in views:
        counts = [step.num_views] if isinstance(step.num_views, int) else step.num_views
        if sum(counts) < 2:
            yield (
                f'train_dataloader.dataset.pipeline: num_views={list(counts)}: {type(method).__name__} compares two '
                'views of each image; ask for [2] or [1, 1]'
            )


def drop_last_faults(cfg: Config) -> Iterator[str]:
    """Find an image folder with less than one batch, of which ``drop_last`` leaves nothing."""
    loader = cfg.train_dataloader
    if loader.dataset.get('type') != 'repre_mm.ImageFolder' or not loader.get('drop_last'):
        return
    found, processes = count_images(loader.dataset, global_batch(cfg)), num_processes()
    if -(-found // processes) < loader.get('batch_size', 1):
        said = f' on {processes} processes' if processes > 1 else ''
        folder = open_source(loader.dataset.root, loader.dataset.get('split')).place
        yield (
            f'train_dataloader.batch_size={loader.batch_size}{said}: {folder} has {found:,} images, and drop_last=True '
            f'leaves no batch of them; lower it to {max(found // processes, 1)} at most'
        )


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
