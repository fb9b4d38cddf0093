"""LARS: mmpretrain's numbers, without a number copied to the host."""

import math

import pytest
import torch
from fixtures.data import make_image_folder
from fixtures.resuming import make_runner
from mmengine.optim import build_optim_wrapper
from mmpretrain.engine import optimizers
from torch import nn

from repre_mm.engine import LARS

Reference = optimizers.LARS
# Rates are rounded to fp32 here, and values near 1 have 7 digits.
CLOSE = dict(rtol=2e-6, atol=1e-6)
SHAPES = ((6, 5), (5,), (3, 4, 2, 2), (1, 1, 7), (), (200, 200))


def make_parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in SHAPES] + [nn.Parameter(torch.zeros(4, 3))]


def set_gradients(parameters: list[nn.Parameter], step: int) -> None:
    torch.manual_seed(100 + step)
    for p in parameters:
        p.grad = torch.randn(p.shape)
    parameters[2].grad.zero_()
    if step == 0:
        parameters[0].grad = None  # starts a step later


def groups(parameters: list[nn.Parameter]) -> list[dict]:
    return [
        dict(params=parameters[:2]),
        dict(params=parameters[2:3], lr=0.5),
        dict(params=parameters[3:5], weight_decay=0.0, lars_exclude=True),
        dict(params=parameters[5:], eta=0.02),
    ]


def run(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], steps: range) -> None:
    for step in steps:
        set_gradients(parameters, step)
        optimizer.step()


def assert_same(ours: list[nn.Parameter], theirs: list[nn.Parameter]) -> None:
    for a, b, start in zip(ours, theirs, make_parameters(), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
        assert not torch.equal(a, start)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(momentum=0.9),
        dict(momentum=0.9, weight_decay=0.1),
        dict(momentum=0.9, weight_decay=0.1, nesterov=True),
        dict(momentum=0.9, weight_decay=0.1, dampening=0.3),
    ],
    ids=lambda options: ' '.join(options) or 'plain',
)
def test_equals_mmpretrains(options):
    ours, theirs = make_parameters(), make_parameters()
    options = dict(lr=0.3, eta=0.1, weight_decay=0.01) | options
    run(LARS(groups(ours), **options), ours, range(6))
    run(Reference(groups(theirs), **options), theirs, range(6))
    assert_same(ours, theirs)


def test_one_step_by_hand():
    """|w| = 5, |g| = 2: Algorithm 1 in numbers; and what is excluded."""
    weight, bias = nn.Parameter(torch.tensor([[3.0, 4.0]])), nn.Parameter(torch.tensor([3.0, 4.0]))
    for p in (weight, bias):
        p.grad = torch.tensor([2.0, 0.0]).view_as(p)
    LARS([weight, bias], lr=10.0, weight_decay=0.1, eta=0.01, eps=0.0, exclude_vectors=True).step()
    rate = 10 * 0.01 * 5 / (2 + 0.1 * 5)
    torch.testing.assert_close(weight.data, torch.tensor([[3 - rate * 2.3, 4 - rate * 0.4]]))
    torch.testing.assert_close(bias.data, torch.tensor([3.0 - 10 * 2, 4.0]))


def test_reads_mmpretrains_checkpoints_and_the_other_way_round():
    whole, parts = make_parameters(), make_parameters()
    options = dict(lr=0.3, momentum=0.9, weight_decay=0.1, eta=0.1)
    run(Reference(groups(whole), **options), whole, range(6))
    optimizers = [kind(groups(parts), **options) for kind in (Reference, LARS, Reference)]
    for i, optimizer in enumerate(optimizers):
        if i:
            optimizer.load_state_dict(optimizers[i - 1].state_dict())
        run(optimizer, parts, range(2 * i, 2 * i + 2))
    assert_same(parts, whole)


def test_nothing_waits_for_the_device():
    """Tensors without memory cannot be read: one look at a norm would raise."""
    parameters = [nn.Parameter(torch.empty(shape, device='meta')) for shape in SHAPES]
    optimizer = LARS(parameters, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)
    for _ in range(2):
        for p in parameters:
            p.grad = torch.empty_like(p)
        optimizer.step()
    with pytest.raises(RuntimeError, match='meta'):
        Reference(parameters, lr=0.1).step()


def test_parameters_of_all_groups_are_updated_together():
    """A ``paramwise_cfg`` makes a group of each parameter."""
    parameters = [nn.Parameter(torch.randn(3, 3)) for _ in range(5)]
    for p in parameters:
        p.grad = torch.randn_like(p)
    assert len(LARS([dict(params=[p]) for p in parameters], lr=0.1)._alike()) == 1


def test_built_from_a_config():
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    optimizer = dict(type='repre_mm.LARS', lr=0.1, momentum=0.9, weight_decay=0.1)
    excluded = dict(decay_mult=0.0, lars_exclude=True)
    by_name = dict(
        optimizer=optimizer, paramwise_cfg=dict(custom_keys={'bias': excluded, '1.': excluded, '2.': dict(lr_mult=0.5)})
    )
    wrapper = build_optim_wrapper(model, by_name)
    assert type(wrapper.optimizer) is LARS
    adapted = {settings[0]: len(params) for settings, params in alike(wrapper.optimizer, model) if settings.adapt}
    assert adapted == {0.1: 1, 0.05: 1}

    by_shape = build_optim_wrapper(model, dict(optimizer=dict(optimizer, exclude_vectors=True)))
    for settings, params in alike(by_shape.optimizer, model):
        assert all((p.ndim > 1) == settings.adapt == (settings.weight_decay > 0) for p in params)


def test_command_line_of_the_docs_trains(tmp_path):
    options = {'_delete_': True, 'type': 'repre_mm.LARS', 'lr': 0.3, 'weight_decay': 1e-6, 'momentum': 0.9}
    options['exclude_vectors'] = True
    runner = make_runner(
        make_image_folder(tmp_path / 'images'),
        tmp_path / 'run',
        **{f'optim_wrapper.optimizer.{key}': value for key, value in options.items()},
    )
    runner.train()
    assert type(runner.optim_wrapper.optimizer) is LARS
    assert math.isfinite(runner.message_hub.get_scalar('train/loss').current())
    for p, state in runner.optim_wrapper.optimizer.state.items():
        assert state['momentum_buffer'].shape == p.shape


def alike(optimizer: LARS, model: nn.Module) -> list:
    model(torch.randn(3, 4)).square().sum().backward()
    found = list(optimizer._alike().items())
    assert sum(len(params) for _, params in found) == 6
    return found


def test_a_closure_is_called_with_gradients_on():
    p = nn.Parameter(torch.ones(2, 2))

    def closure():
        p.grad = None
        loss = p.square().sum()
        loss.backward()
        return loss

    optimizer = LARS([p], lr=0.1, eta=1.0, eps=0.0)
    assert optimizer.step(closure).item() == 4
    # |w| = 2, |g| = 4: the rate is 0.05, the gradient 2.
    torch.testing.assert_close(p.data, torch.full((2, 2), 0.9))
    assert math.isclose(optimizer.step(closure).item(), 4 * 0.81, rel_tol=1e-6)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(lr=-0.1), 'lr must not be negative, got -0.1'),
        (dict(lr=0.1, eta=-1.0), 'eta must not be negative'),
        (dict(lr=0.1, momentum=1.5), r'momentum must lie in \[0, 1\], got 1.5'),
        (dict(lr=0.1, nesterov=True), 'nesterov needs momentum > 0'),
    ],
)
def test_numbers_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        LARS(make_parameters(), **options)


def test_sparse_gradients_are_refused():
    embedding = nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=r'shape \(4, 2\) has a sparse gradient'):
        LARS(embedding.parameters(), lr=0.1).step()
