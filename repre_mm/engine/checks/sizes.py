"""Find numbers of images, workers and epochs that cannot work."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator

from mmengine.config import Config
from torch.utils.data import DataLoader

from repre_mm.engine.checks.explain import first_line
from repre_mm.utils.configs import is_transfer

_LOOPS = ('EpochBasedTrainLoop', 'IterBasedTrainLoop')
_OPTIONS = ('batch_size', 'num_workers', 'persistent_workers', 'prefetch_factor')
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
        sampler = loader.get('sampler')
        uneven = isinstance(sampler, dict) and not sampler.get('round_up', True)
        if uneven and key == 'train_dataloader' and num_processes() > 1 and not is_transfer(cfg):
            # Methods gather embeddings: sizes that differ would be mixed up, and a missing batch waited for for ever.
            yield (
                f'{key}.sampler.round_up=False gives some processes fewer images than others, and a contrastive method '
                'needs the same number on all: set it to True'
            )
        options = {name: loader[name] for name in _OPTIONS if name in loader}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # of fewer CPUs than workers
                DataLoader([0], **options)
        except (TypeError, ValueError) as error:
            yield f'{key}: {first_line(error)}; there is {options}'
    loop = cfg.train_cfg if isinstance(cfg.get('train_cfg'), dict) else {}
    if loop and loop.get('type') in (None, *_LOOPS) and not {'max_epochs', 'max_iters'} & loop.keys():
        yield 'train_cfg: needs max_epochs=... or max_iters=...'
    for name in ('max_epochs', 'max_iters', 'val_interval'):
        if name in loop and not (isinstance(loop[name], int) and loop[name] >= 1):
            yield f'train_cfg.{name}={loop[name]!r}: a whole number, 1 at least'
    for split in ('val', 'test'):
        keys = [f'{split}_{part}' for part in ('dataloader', 'cfg', 'evaluator')]
        missing = [key for key in keys if cfg.get(key) is None]
        if missing and len(missing) < 3:
            there = ', '.join(key for key in keys if key not in missing)
            yield f'{", ".join(missing)}: missing, but there is {there}; set all three or none'
