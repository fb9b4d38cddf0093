"""SyncBatchNorm on a CPU in a group of one; tests/test_distributed/test_distributed_gradients.py has two ranks."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn

from repre_mm.distributed.sync_batchnorm import CPUSyncBatchNorm, sync_batchnorm_on_cpu


@pytest.fixture
def group():
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def make(**kwargs) -> CPUSyncBatchNorm:
    layer = nn.SyncBatchNorm(4, **kwargs)
    if layer.affine:
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    sync_batchnorm_on_cpu(layer)
    return layer


@pytest.mark.parametrize('shape', [(6, 4), (6, 4, 3), (2, 4, 3, 2)])
@pytest.mark.parametrize('kwargs', [{}, dict(momentum=None), dict(affine=False), dict(track_running_stats=False)])
def test_equals_batchnorm(group, shape, kwargs):
    layer, reference = (
        make(**kwargs),
        {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)](4, **kwargs),
    )
    reference.load_state_dict(layer.state_dict())
    cotangent = torch.randn(shape)
    results = []
    for module in (layer, reference):
        torch.manual_seed(1)
        for _ in range(2):
            images = (torch.randn(shape) * 3 + 5).requires_grad_()
            output = module(images)
            (output * cotangent).sum().backward()
        module.eval()
        results.append([output, images.grad, module(images), *(p.grad for p in module.parameters()), *module.buffers()])
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


def test_keeps_digits_far_from_zero(group):
    images = torch.randn(64, 4) + 1e4
    exact = nn.BatchNorm1d(4).double()(images.double())
    torch.testing.assert_close(make(affine=False)(images).double(), exact, rtol=0, atol=1e-3)


def test_takes_the_place_of_torchs_layer():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.SyncBatchNorm(4)), nn.BatchNorm1d(4))
    before = copy.deepcopy(model)
    weight = model[1][0].weight
    sync_batchnorm_on_cpu(model)
    assert [type(model[1][0]), type(model[2])] == [CPUSyncBatchNorm, nn.BatchNorm1d]
    assert model[1][0].weight is weight
    assert list(model.state_dict()) == list(before.state_dict())
    # Without a process group, and in a copy, it is BatchNorm.
    images = torch.randn(5, 4)
    torch.testing.assert_close(copy.deepcopy(model)(images), before(images))


def test_autocast_keeps_statistics_in_fp32(group):
    layer, images = make(), torch.randn(8, 4, dtype=torch.bfloat16) * 2 + 30
    with torch.autocast('cpu', dtype=torch.bfloat16):
        output = layer(images)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(layer.running_mean, images.float().mean(0) * 0.1)


def test_a_single_value_is_refused(group):
    with pytest.raises(ValueError, match='BatchNorm over 1 value per channel has no variance'):
        make()(torch.randn(1, 4))
    make().eval()(torch.randn(1, 4))
