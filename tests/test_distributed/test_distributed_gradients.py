"""DDP and SyncBatchNorm together: two ranks with half of the batch each, against one process with all of it."""

import shutil

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.methods import METHODS
from fixtures.rank_steps import batchnorm_step, build, make_batches, train
from fixtures.torchrun import run_on_two_ranks


@pytest.fixture(scope='module')
def ranks(tmp_path_factory) -> list[dict]:
    """What each of two ranks computed in ``fixtures.ranks.gradients``."""
    out = tmp_path_factory.mktemp('ranks')
    # Every image the same, so that only the augmentation can tell two apart.
    images = make_image_folder(out / 'images', train=16)
    first, *others = sorted(images.rglob('train/**/*.jpg'))
    for other in others:
        shutil.copy(first, other)
    run_on_two_ranks('-m', 'fixtures.ranks', 'gradients', out, images)
    return [torch.load(out / f'rank{rank}.pt') for rank in range(2)]


def assert_same(ours: dict, theirs: dict, **tolerance) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], msg=lambda text, name=name: f'{name}: {text}', **tolerance)


@pytest.mark.dist
@pytest.mark.parametrize('repre', [False, True], ids=['plain', 'repre'])
@pytest.mark.parametrize('method', METHODS)
def test_two_ranks_are_one_process_on_the_joined_batch(ranks, method, repre):
    alone = train(build(method, repre), make_batches(method))
    first, second = (rank[method, repre] for rank in ranks)
    # Gradients, weights, targets, queues, centres, running statistics, after two steps.
    assert_same(first, second, rtol=0, atol=0)
    assert_same(first, alone, rtol=1e-5, atol=1e-5)
    moved = [name for name, value in alone.items() if name.startswith('grad') and value.abs().max() > 1e-4]
    assert moved, 'all gradients are zero, so they say nothing'


@pytest.mark.dist
@pytest.mark.parametrize('momentum', [0.1, None])
def test_sync_batchnorm_on_uneven_shares(ranks, momentum):
    alone = batchnorm_step(momentum=momentum)  # outside a process group: nn.BatchNorm
    first, second = (rank['batchnorm', momentum] for rank in ranks)
    joined = {name: torch.cat([first.pop(name), second.pop(name)]) for name in ('output', 'grad_input')}
    assert_same(first, second, rtol=0, atol=0)
    assert_same({**joined, **first}, alone, rtol=1e-6, atol=3e-6)


@pytest.mark.dist
def test_ranks_draw_differently_and_stay_alike(ranks):
    first, second = (rank['runner'] for rank in ranks)
    for name in ('python', 'numpy', 'torch', 'view 1'):
        assert not torch.equal(first.pop(name), second.pop(name)), f'{name}: the ranks draw the same'
    assert 'state queue' in first
    assert_same(first, second, rtol=0, atol=0)
