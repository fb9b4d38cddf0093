"""CPU kernels give torch's numbers up to rounding."""

import copy

import pytest
import torch
import torch.nn.functional as F
from fixtures.models import ENCODERS, make_views, mocov3
from mmpretrain.registry import MODELS
from torch import nn

from repre_mm.engine.optim import cpu_kernels
from repre_mm.engine.optim.cpu_kernels import OneDNNLinear, attention, slow_mkl, use_attention, use_onednn_linear

needs_onednn = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, '_linear_pointwise')),
    reason='torch was built without oneDNN',
)


@pytest.fixture
def no_size_limit(monkeypatch):
    monkeypatch.setattr(cpu_kernels, 'SMALLEST_PRODUCT', 0)


@needs_onednn
@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('shape', [(7, 24), (2, 5, 24), (2, 3, 5, 24)])
def test_linear_gives_the_numbers_of_torch(shape, bias, no_size_limit):
    plain = nn.Linear(24, 40, bias=bias)
    ours = copy.deepcopy(plain)
    assert use_onednn_linear(ours) == 1
    x = torch.randn(shape, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    out, expected = ours(x), plain(y)
    assert 'LinearFunction' in type(out.grad_fn.next_functions[0][0]).__name__, 'it went round oneDNN'
    torch.testing.assert_close(out, expected)
    probe = torch.randn_like(out)
    (out * probe).sum().backward()
    (expected * probe).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    assert ours.state_dict().keys() == plain.state_dict().keys()


@needs_onednn
def test_linear_asks_for_no_gradient_that_nobody_wants(no_size_limit):
    layer = nn.Linear(4, 6)
    use_onednn_linear(layer)
    layer.weight.requires_grad = False
    layer(torch.randn(3, 4)).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(layer.bias.grad, torch.full((6,), 3.0))


@needs_onednn
def test_linear_is_torchs_own_in_autocast_and_for_small_inputs(no_size_limit, monkeypatch):
    plain = nn.Linear(24, 40)
    ours = copy.deepcopy(plain)
    use_onednn_linear(ours)
    x = torch.randn(7, 24)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = ours(x)
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out, plain(x), rtol=0, atol=0)
    monkeypatch.setattr(cpu_kernels, '_product', None)  # an error if it were called
    monkeypatch.setattr(cpu_kernels, 'SMALLEST_PRODUCT', 7 * 24 * 40 + 1)
    torch.testing.assert_close(ours(x), plain(x), rtol=0, atol=0)


@needs_onednn
def test_compilers_get_torchs_own_linear(no_size_limit):
    layer, graphs = nn.Sequential(nn.Linear(24, 40)), []
    plain = copy.deepcopy(layer)
    use_onednn_linear(layer)

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    x = torch.randn(7, 24)
    torch.testing.assert_close(torch.compile(layer, backend=backend)(x), plain(x), rtol=0, atol=0)
    (graph,) = graphs
    assert [node.target for node in graph.graph.nodes if node.op == 'call_function'] == [F.linear]


@pytest.mark.parametrize(
    ('capability', 'maker', 'expected'),
    [('AVX512', 'AuthenticAMD', True), ('AVX512', 'GenuineIntel', False), ('AVX2', 'AuthenticAMD', False)],
)
@needs_onednn
def test_onednn_is_taken_where_mkl_is_slow(capability, maker, expected, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, 'is_available', lambda: True)
    monkeypatch.setattr(cpu_kernels.Path, 'is_file', lambda path: True)
    monkeypatch.setattr(cpu_kernels.Path, 'read_text', lambda path: f'vendor_id : {maker}\n')
    assert slow_mkl() is expected


def _attend(function, dtype: torch.dtype) -> list[torch.Tensor]:
    """The output and the three gradients, in float64."""
    torch.manual_seed(0)
    tensors = [torch.randn(2, 3, 17, 8).to(dtype).requires_grad_() for _ in range(3)]
    out = function(*tensors)
    (out * torch.randn(out.shape).to(dtype)).sum().backward()
    return [value.detach().double() for value in (out, *(t.grad for t in tensors))]


def test_attention_in_bf16_is_as_exact_as_the_fused_kernel():
    ours = _attend(attention, torch.bfloat16)
    fused = _attend(F.scaled_dot_product_attention, torch.bfloat16)
    torch.manual_seed(0)
    tensors = [torch.randn(2, 3, 17, 8).to(torch.bfloat16).double().requires_grad_() for _ in range(3)]
    out = F.scaled_dot_product_attention(*tensors)
    (out * torch.randn(out.shape).to(torch.bfloat16).double()).sum().backward()
    exact = [out.detach(), *(t.grad for t in tensors)]
    assert not torch.equal(ours[0], fused[0]), 'it went to the fused kernel'
    for mine, theirs, truth in zip(ours, fused, exact, strict=True):
        torch.testing.assert_close(mine, truth, rtol=0.03, atol=0.03)
        assert (mine - truth).norm() < 2 * (theirs - truth).norm()


@pytest.mark.parametrize('options', [{}, {'attn_mask': torch.ones(17, 17).tril().bool()}, {'scale': 0.5}])
def test_attention_is_torchs_own_otherwise(options):
    dtype = torch.bfloat16 if options else torch.float32
    ours = _attend(lambda *qkv: attention(*qkv, **options), dtype)
    fused = _attend(lambda *qkv: F.scaled_dot_product_attention(*qkv, **options), dtype)
    torch.testing.assert_close(ours, fused, rtol=0, atol=0)


def _step(model: nn.Module, views: list[torch.Tensor], bf16: bool) -> list[torch.Tensor]:
    """The loss and all gradients of one step."""
    model.zero_grad()
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=bf16):
        loss = model(views, None, mode='loss')['loss']
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@needs_onednn
def test_a_step_of_moco_v3_is_the_same(encoder_name, no_size_limit):
    backbone, size = ENCODERS[encoder_name]
    plain = MODELS.build(mocov3(backbone))
    plain.init_weights()
    ours = copy.deepcopy(plain)
    assert use_onednn_linear(ours) > 20
    assert use_attention(ours) == (12 if encoder_name == 'vit' else 0)  # online and target
    views = make_views(size, batch=8)
    exact = _step(plain, views, bf16=False)
    torch.testing.assert_close(_step(ours, views, bf16=False), exact, rtol=1e-3, atol=1e-5)

    def error(model: nn.Module) -> torch.Tensor:
        grads = _step(model, views, bf16=True)
        return torch.cat([(g.float() - e).flatten() for g, e in zip(grads, exact, strict=True)]).norm()

    assert error(ours) < 1.5 * error(plain)  # as far from fp32 as bf16 is anyway


def test_copies_keep_their_kernels():
    layers = nn.Sequential(nn.Linear(3, 3))
    use_onednn_linear(layers)
    assert type(copy.deepcopy(layers)[0]) is OneDNNLinear
