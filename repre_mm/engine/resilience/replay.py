"""Derive randomness and data order from the position in a run, so that it can be resumed anywhere.

No state of a random generator is saved. Every sample's augmentation starts from a seed made of (run, rank, epoch,
position), whichever worker cuts it and whatever it did before; every training step from one made of (run, rank,
iteration). A run that is resumed at iteration n draws what the uninterrupted one draws.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Sampler, get_worker_info

# The first number after the run's seed: samples and steps never share a seed.
_SAMPLE, _STEP = 0, 1


def seed_step(seed: int, rank: int, iteration: int) -> None:
    """Start the random streams of Python, NumPy and torch (all devices) for one training step."""
    torch.manual_seed(_seed_cpu(seed, _STEP, rank, iteration))


@contextmanager
def sample_randomness(*key: int) -> Iterator[None]:
    """Random streams of their own inside; outside they go on as if nothing had been drawn."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    _seed_sample(*key)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _seed_sample(*key: int) -> None:
    torch.default_generator.manual_seed(_seed_cpu(*key))  # not those of GPUs


def _seed_cpu(*key: int) -> int:
    """Seed Python and NumPy from a key of non-negative integers; returns the seed for torch."""
    for_python, for_numpy, for_torch = (int(n) for n in np.random.SeedSequence(key).generate_state(3, np.uint64))
    random.seed(for_python)
    np.random.seed([for_numpy & 0xFFFFFFFF, for_numpy >> 32])
    return for_torch


class _Proxy:
    """Everything that is not defined here is the wrapped object's."""

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


class KeyedSampler(_Proxy):
    """Give each index that a sampler draws the key of its randomness."""

    def __init__(self, sampler: Sampler, seed: int, rank: int) -> None:
        super().__init__(sampler)
        self._run = (seed, _SAMPLE, rank)

    def __iter__(self) -> Iterator[_KeyedIndex]:
        epoch = getattr(self.wrapped, 'epoch', 0)
        for position, index in enumerate(self.wrapped):
            keyed = _KeyedIndex(index)
            keyed.key = (*self._run, epoch, position)
            yield keyed


class KeyedDataset(_Proxy):
    """Read each sample with the randomness of its key."""

    def __getitem__(self, index: int) -> Any:
        if not isinstance(index, _KeyedIndex):
            return self.wrapped[index]
        if get_worker_info() is not None:  # nobody else draws in a worker: nothing to put back
            _seed_sample(*index.key)
            return self.wrapped[int(index)]
        with sample_randomness(*index.key):
            return self.wrapped[int(index)]


class SkippingBatches(_Proxy):
    """Batches of indices from batch ``start`` on; only indices are drawn for those before.

    It stays set until somebody sets it otherwise: a DataLoader with workers begins twice and drops the first iterator.
    """

    def __init__(self, batches: BatchSampler) -> None:
        super().__init__(batches)
        self.start = 0

    def __iter__(self) -> Iterator[list[int]]:
        return islice(iter(self.wrapped), self.start, None)


def make_replayable(loader: DataLoader, seed: int, rank: int) -> None:
    """Let a loader draw the same samples, augmented alike, at the same position of a run, always.

    Args:
        loader: Not yet iterated; changed in place.
        seed: The run's.
        rank: Of this process: ranks augment differently.

    Raises:
        ValueError: The dataset is a stream (``IterableDataset``): it has no positions to go back to.
    """
    if loader.batch_sampler is None or not hasattr(loader.dataset, '__getitem__'):
        raise ValueError(f'{type(loader.dataset).__name__} has no indices, so training on it cannot be resumed exactly')
    loader.batch_sampler.sampler = KeyedSampler(loader.batch_sampler.sampler, seed, rank)
    # DataLoader guards these two against a change after its construction, since iterators keep copies. There are none.
    object.__setattr__(loader, 'dataset', KeyedDataset(loader.dataset))
    object.__setattr__(loader, 'batch_sampler', SkippingBatches(loader.batch_sampler))
    # Loaders draw a seed for their workers, from here and not from the global stream.
    loader.generator = torch.Generator().manual_seed(seed)
    loader.worker_init_fn = partial(_start_worker, then=loader.worker_init_fn)


def _start_worker(worker_id: int, then: Callable[[int], None] | None) -> None:
    # A batch system signals all processes of a job. The main one decides when to stop, and needs batches until then;
    # but its own SIGTERM, at its end, is what ends this one.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_obey_parent, daemon=True).start()
    if then is not None:
        then(worker_id)


def _obey_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
