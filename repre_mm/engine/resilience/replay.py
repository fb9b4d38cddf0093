"""Derive randomness and data order from the position in a run, so that a resume is exact.

No state of a random generator is saved. Each sample's augmentation is seeded by (run, rank, epoch, position), whichever
worker loads it; each training step by (run, rank, iteration). A run resumed at iteration n draws what an uninterrupted
one draws.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader

# The first number after the run's seed: samples and steps never share a seed.
_SAMPLE, _STEP = 0, 1


def seed_step(seed: int, rank: int, iteration: int) -> None:
    """Seed Python, NumPy and torch (all devices) for one training step."""
    torch.manual_seed(_seed_cpu(seed, _STEP, rank, iteration))


def _seed_cpu(*key: int) -> int:
    """Seed Python and NumPy from a key of non-negative integers; returns the seed for torch."""
    for_python, for_numpy, for_torch = (int(n) for n in np.random.SeedSequence(key).generate_state(3, np.uint64))
    random.seed(for_python)
    np.random.seed([for_numpy & 0xFFFFFFFF, for_numpy >> 32])
    return for_torch


class _Proxy:
    """Stands for another object; what is not defined here is that object's."""

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        # Not the special methods: __getitems__ would go round the wrapper, and copying looks before __init__.
        if name.startswith('__') or name == 'wrapped':
            raise AttributeError(name)
        return getattr(self.wrapped, name)

    def __len__(self) -> int:
        return len(self.wrapped)


class _KeyedIndex(int):
    """The index of a sample, with the key of its randomness."""

    key: tuple[int, ...]


class KeyedDataset(_Proxy):
    """Load each sample with the randomness of its key."""

    def __getitem__(self, index: int) -> Any:
        if isinstance(index, _KeyedIndex):
            torch.default_generator.manual_seed(_seed_cpu(*index.key))  # not the generators of GPUs
        return self.wrapped[int(index)]


class KeyedBatches(_Proxy):
    """Yield batches of indices, each with the key of its randomness, from batch ``start`` on.

    The indices of earlier batches are drawn and dropped. ``start`` stays until it is set again: a DataLoader with
    workers iterates twice and drops the first iterator.
    """

    def __init__(self, batches: BatchSampler, seed: int, rank: int) -> None:
        super().__init__(batches)
        self._run = (seed, _SAMPLE, rank)
        self.start = 0

    def __iter__(self) -> Iterator[list[_KeyedIndex]]:
        start, epoch = self.start, getattr(self.wrapped.sampler, 'epoch', 0)
        positions = count()
        for number, batch in enumerate(self.wrapped):
            keyed = [_KeyedIndex(index) for index in batch]
            for index in keyed:
                index.key = (*self._run, epoch, next(positions))
            if number >= start:
                yield keyed


def make_replayable(loader: DataLoader, seed: int, rank: int) -> None:
    """Make a loader draw the same samples, augmented alike, at the same position of a run.

    Args:
        loader: Not yet iterated; changed in place.
        seed: The run's.
        rank: Of this process: ranks augment differently.

    Raises:
        ValueError: The dataset is a stream (``IterableDataset``), which has no positions to go back to.
    """
    if loader.batch_sampler is None or not hasattr(loader.dataset, '__getitem__'):
        raise ValueError(f'{type(loader.dataset).__name__} has no indices, so training on it cannot be resumed exactly')
    # DataLoader refuses a change of these two after its construction, since iterators keep copies: there are none yet.
    object.__setattr__(loader, 'dataset', KeyedDataset(loader.dataset))
    object.__setattr__(loader, 'batch_sampler', KeyedBatches(loader.batch_sampler, seed, rank))
    # Loaders draw a seed for their workers from here instead of the global stream.
    loader.generator = torch.Generator().manual_seed(seed)
    loader.worker_init_fn = partial(_start_worker, then=loader.worker_init_fn)


def _start_worker(worker_id: int, then: Callable[[int], None] | None) -> None:
    # A batch system signals all processes of a job. The main process decides when to stop, and needs batches until
    # then; only its own SIGTERM ends this one.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_obey_parent, daemon=True).start()
    if then is not None:
        then(worker_id)


def _obey_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
