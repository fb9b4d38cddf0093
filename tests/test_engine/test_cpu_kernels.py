"""CPU kernels give torch's numbers up to rounding."""

import copy

import pytest
import torch
import torch.nn.functional as F
from fixtures.models import ENCODERS, make_views, mocov3
from mmpretrain.registry import MODELS
from torch import nn

from repre_mm.engine.optim.cpu_kernels import attention, use_attention


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


def test_a_step_of_moco_v3_is_the_same(encoder_name):
    backbone, size = ENCODERS[encoder_name]
    plain = MODELS.build(mocov3(backbone))
    plain.init_weights()
    ours = copy.deepcopy(plain)
    assert use_attention(ours) == (12 if encoder_name == 'vit' else 0)  # online and target
    views = make_views(size, batch=8)
    exact = _step(plain, views, bf16=False)
    torch.testing.assert_close(_step(ours, views, bf16=False), exact, rtol=0, atol=0)

    def error(model: nn.Module) -> torch.Tensor:
        grads = _step(model, views, bf16=True)
        return torch.cat([(g.float() - e).flatten() for g, e in zip(grads, exact, strict=True)]).norm()

    assert error(ours) < 1.5 * error(plain)  # as far from fp32 as bf16 is anyway
