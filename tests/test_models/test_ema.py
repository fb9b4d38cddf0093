"""The moving average of the target networks: its order, schedule, start and state."""

import copy
import math

import pytest
import torch
from mmpretrain.models.utils import CosineEMA as UpstreamCosineEMA
from torch import nn

from repre_mm.models.selfsup.ema import CosineEMA, disable_drop_path


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def reinitialise(module: nn.Module) -> None:
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape))


def forward_and_step(online: nn.Module, ema: CosineEMA) -> list[torch.Tensor]:
    """One training step; returns the target that its forward saw."""
    ema.update_parameters(online)
    seen = [p.clone() for p in ema.module.parameters()]
    reinitialise(online)  # an optimizer step
    ema.step()
    return seen


def test_every_forward_sees_the_authors_target():
    """The authors move the target at the start of forward k, by m_k, towards the weights that step k - 1 left."""
    online = network()
    ema = CosineEMA(online, momentum=0.3, end_momentum=0.05)
    ema.max_steps = 5
    target = [p.detach().clone() for p in online.parameters()]
    for k in range(5):
        keep = 1 - (0.05 + (0.3 - 0.05) * (1 + math.cos(math.pi * k / 5)) / 2)
        with torch.no_grad():
            target = [keep * t + (1 - keep) * p for t, p in zip(target, online.parameters(), strict=True)]
        assert ema.steps.item() == k
        torch.testing.assert_close(forward_and_step(online, ema), target)


def test_equals_mmpretrains_while_that_is_right():
    """mmpretrain's own average, fed at the start of each forward; its schedule is the tests' message hub's, 100."""
    online = network()
    ours, theirs = CosineEMA(online, momentum=0.4), UpstreamCosineEMA(online, momentum=0.4)
    ours.max_steps = 100
    for _ in range(20):
        theirs.update_parameters(online)
        seen = forward_and_step(online, ours)
        torch.testing.assert_close(seen, list(theirs.module.parameters()))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert torch.equal(ours.steps, theirs.steps)
    assert ours.steps.dtype == theirs.steps.dtype


def test_momentum_stays_at_its_end():
    ema = CosineEMA(network(), momentum=0.4, end_momentum=0.1)
    ema.max_steps = 10
    assert ema.momentum_at(0) == pytest.approx(0.4)
    assert ema.momentum_at(5) == pytest.approx(0.25)
    assert ema.momentum_at(10) == ema.momentum_at(11) == ema.momentum_at(25) == pytest.approx(0.1)


def test_first_forward_copies_the_online_network_and_later_ones_do_not():
    online = network()
    ema = CosineEMA(online, momentum=0.1, end_momentum=0.1)
    ema.max_steps = 2
    reinitialise(online)  # what init_weights() does after the target was made
    online[1].running_mean.fill_(3)
    ema.update_parameters(online)
    for ours, theirs in zip(ema.module.state_dict().values(), online.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    ema.step()
    before = copy.deepcopy(ema.module.state_dict())
    reinitialise(online)
    ema.update_parameters(online)
    for key, value in ema.module.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_batchnorm_of_the_target_keeps_its_own_statistics():
    online = network()
    ema = CosineEMA(online, momentum=0.5, end_momentum=0.5)
    ema.max_steps = 2
    ema.update_parameters(online)
    ema(torch.full((4, 4), 2.0))
    ema.step()
    own = ema.module[1].running_mean.clone()
    online[1].running_mean.fill_(7)
    ema.update_parameters(online)
    ema.step()
    assert torch.equal(ema.module[1].running_mean, own)


def test_several_forwards_make_one_update():
    """Gradient accumulation: the hook has set max_steps, and calls step() after the last of them."""
    online = network()
    ema = CosineEMA(online, momentum=0.5, end_momentum=0.5)
    ema.max_steps = 3
    ema.update_parameters(online)
    ema.update_parameters(online)
    old = [p.clone() for p in ema.module.parameters()]
    reinitialise(online)
    ema.step()
    expected = [(a + b) / 2 for a, b in zip(old, online.parameters(), strict=True)]
    torch.testing.assert_close(list(ema.module.parameters()), expected)
    assert ema.steps.item() == 1


@pytest.mark.parametrize('end_momentum', [0.0, 0.1])
def test_without_the_hook_forwards_work_and_the_optimizer_says_what_is_missing(end_momentum):
    online = network()
    optimizer = torch.optim.SGD(online.parameters(), lr=0.1)
    ema = CosineEMA(online, momentum=0.1, end_momentum=end_momentum)
    for _ in range(2):
        ema.update_parameters(online)
        ema(torch.randn(4, 4))
    for action in (optimizer.step, optimizer.step, ema.step):
        with pytest.raises(RuntimeError, match=r"add dict\(type='repre_mm.MomentumUpdateHook'\) to custom_hooks"):
            action()
    ema.max_steps = 10
    optimizer.step()
    ema.step()


def test_step_without_a_forward_is_an_error():
    ema = CosineEMA(network(), momentum=0.1)
    ema.max_steps = 3
    with pytest.raises(RuntimeError, match='no online network to update the target network from'):
        ema.step()


def test_another_network_is_refused():
    ema = CosineEMA(network(), momentum=0.1)
    with pytest.raises(ValueError, match=r'differ in their parameters: 4\.bias, 4\.weight'):
        ema.update_parameters(nn.Sequential(*network(), nn.Linear(3, 3)))


@pytest.mark.parametrize('name', ['momentum', 'end_momentum'])
@pytest.mark.parametrize('value', [-0.1, 1.5])
def test_momentum_out_of_range(name, value):
    with pytest.raises(ValueError, match=rf'{name}={value} must lie in \[0, 1\]'):
        CosineEMA(network(), **{'momentum': 0.1, name: value})


def test_target_is_frozen_and_the_online_network_is_no_part_of_it():
    online = network()
    ema = CosineEMA(online, momentum=0.1)
    keys = set(ema.state_dict())
    ema.update_parameters(online)
    assert all(p.requires_grad for p in online.parameters())
    assert not any(p.requires_grad for p in ema.parameters())
    assert set(ema.state_dict()) == keys == {'steps', *(f'module.{key}' for key in online.state_dict())}
    assert len(list(ema.parameters())) == len(list(online.parameters()))


def test_state_dict_carries_the_schedule():
    online = network()
    ema = CosineEMA(online, momentum=0.4)
    ema.max_steps = 6
    for _ in range(3):
        forward_and_step(online, ema)
    other = CosineEMA(network(), momentum=0.4)
    other.update_parameters(online)  # it has read its counter before
    other.load_state_dict(ema.state_dict())
    other.max_steps = 6
    other_online = copy.deepcopy(online)
    with torch.random.fork_rng():
        forward_and_step(online, ema)
    forward_and_step(other_online, other)
    for key, value in ema.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
    assert other.steps.item() == 4


def test_reset_starts_over():
    online = network()
    ema = CosineEMA(online, momentum=0.4)
    ema.max_steps = 6
    forward_and_step(online, ema)
    ema.reset()
    assert ema.steps.item() == 0
    ema.update_parameters(online)
    assert torch.equal(ema.module[0].weight, online[0].weight)


def test_disable_drop_path_leaves_batchnorm_in_train_mode():
    from mmcv.cnn.bricks.drop import DropPath
    from timm.layers import DropPath as TimmDropPath

    module = nn.Sequential(DropPath(0.9), TimmDropPath(0.9), nn.BatchNorm1d(4)).train()
    disable_drop_path(module)
    x = torch.randn(8, 4)
    assert torch.equal(module[:2](x), x)
    assert module[2].training
