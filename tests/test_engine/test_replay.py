"""Augmentations and steps are functions of the position in a run."""

import random

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
