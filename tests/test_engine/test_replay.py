"""Augmentations and steps are functions of the position in a run."""

import multiprocessing
import random
import subprocess

import numpy as np
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import DataLoader, Dataset

from repre_mm.engine.resilience.replay import make_replayable


class Noise(Dataset):
    """Each item: its index, and a number from each random stream."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.tensor([index, random.random(), np.random.rand(), torch.rand(()).item()], dtype=torch.float64)


def draw(epoch=0, start=0, seed=0, rank=0, sampler=DefaultSampler, **options):
    dataset = Noise()
    loader = DataLoader(dataset, batch_size=2, sampler=sampler(dataset, seed=seed), **options)
    make_replayable(loader, seed, rank)
    if sampler is DefaultSampler:
        loader.sampler.set_epoch(epoch)
    loader.batch_sampler.start = start
    batches = iter(loader)
    return torch.stack([next(batches) for _ in range(3 - start)])


def test_augmentations_follow_from_the_position_alone():
    torch.manual_seed(5)
    expected = draw()
    torch.manual_seed(6)
    np.random.seed(6)
    random.seed(6)
    for options in ({}, {'num_workers': 2}, {'num_workers': 1, 'persistent_workers': True}):
        assert torch.equal(draw(**options), expected), options
        assert torch.equal(draw(start=1, **options), expected[1:]), options
    assert len(expected[..., 1:].unique()) == expected[..., 1:].numel()


def test_augmentations_differ_by_epoch_rank_and_seed():
    drawn = [draw(), draw(epoch=1), draw(rank=1), draw(seed=1)]
    assert len(torch.cat(drawn)[..., 1:].unique()) == 4 * drawn[0][..., 1:].numel()


def test_endless_sampler_never_repeats_an_augmentation():
    dataset = Noise()
    loader = DataLoader(dataset, batch_size=2, sampler=InfiniteSampler(dataset, seed=0))
    make_replayable(loader, 0, 0)
    batches = iter(loader)
    drawn = torch.stack([next(batches) for _ in range(9)])
    assert len(drawn[..., 1:].unique()) == drawn[..., 1:].numel()


class Numbers(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return index


def test_workers_obey_their_parent_only():
    """They outlive a signal to all processes of a job; but a process that ends waits for those that it terminates."""
    before = set(multiprocessing.active_children())
    loader = DataLoader(Numbers(), batch_size=2, num_workers=1, persistent_workers=True)
    make_replayable(loader, seed=0, rank=0)
    batches = iter(loader)
    assert next(batches).tolist() == [0, 1]
    (worker,) = set(multiprocessing.active_children()) - before
    for name in ('TERM', 'USR1'):
        subprocess.run(['kill', f'-{name}', str(worker.pid)], check=True)
    assert [batch.tolist() for batch in batches] == [[2, 3], [4, 5], [6, 7]]
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 0
