"""Speed up what is slow on CPUs by default: linear layers in fp32, attention in bf16, memory allocation.

Results change by rounding only, and parameters keep their names.
"""

from __future__ import annotations

import ctypes
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks.wrappers import Linear as MMCVLinear
from mmpretrain.models.utils.attention import MultiheadAttention
from mmpretrain.models.utils.attention import scaled_dot_product_attention as upstream_attention
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Multiply-adds below which setting up oneDNN's product costs more than it saves.
SMALLEST_PRODUCT = 2**21
# M_TRIM_THRESHOLD: never shrink the heap; M_MMAP_MAX: all of it is heap; M_TOP_PAD: let it grow by 64 MiB at a time.
_KEEP_MEMORY = ((-1, -1), (-4, 0), (-2, 2**26))


def keep_memory() -> bool:
    """Make this process keep the memory that it frees; returns whether the C library can.

    glibc returns the memory of large tensors to the system, and the next step asks for every page again, zeroed: a
    quarter of a million of them for ViT-S with 4 images.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl, for instance
        return False
    return all(mallopt(option, value) for option, value in _KEEP_MEMORY)


def slow_mkl() -> bool:
    """Return whether oneDNN multiplies fp32 matrices faster on this processor than MKL, torch's default.

    MKL uses its AVX-512 kernels on Intel processors only. This is not measured, so that a resumed run rounds as before.
    """
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    if torch.backends.cpu.get_cpu_capability() != 'AVX512' or not hasattr(torch.ops.mkldnn, '_linear_pointwise'):
        return False
    cpuinfo = Path('/proc/cpuinfo')
    return cpuinfo.is_file() and 'GenuineIntel' not in cpuinfo.read_text()


def _product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """(M, K), (N, K), (N,) -> ``left @ right.T + bias``, (M, N), by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(left, right, bias, 'none', [], '')


class _LinearFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # (M, K), (N, K), (N,) -> (M, N)
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        return (
            _product(grad, weight.t()) if ctx.needs_input_grad[0] else None,  # (M, N) x (N, K)
            _product(grad.t(), x.t()) if ctx.needs_input_grad[1] else None,  # (N, M) x (M, K)
            grad.sum(0) if ctx.needs_input_grad[2] else None,
        )


class OneDNNLinear(nn.Linear):
    """``nn.Linear`` with oneDNN's fp32 products on CPUs; torch's for small inputs, in autocast and in compiled code."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        if (
            x.device.type != 'cpu'
            or x.dtype != torch.float32
            or self.weight.dtype != torch.float32
            or torch.is_autocast_enabled('cpu')
            or torch.compiler.is_compiling()  # Inductor supports this product for constant weights only
            or x.numel() * self.out_features < SMALLEST_PRODUCT
        ):
            return super().forward(x)
        out = _LinearFunction.apply(x.reshape(-1, self.in_features), self.weight, self.bias)
        return out.view(*x.shape[:-1], self.out_features)


def use_onednn_linear(model: nn.Module) -> int:
    """Make every linear layer of a model multiply by oneDNN; returns their number.

    Their class changes in place: copies of the model keep it, and parameters and hooks stay.
    """
    layers = [module for module in model.modules() if type(module) in (nn.Linear, MMCVLinear)]
    for layer in layers:
        layer.__class__ = OneDNNLinear
    return len(layers)


def attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, **options
) -> Tensor:
    """Compute scaled dot-product attention: plain products on a CPU in bf16, otherwise torch's fused kernel.

    In bf16 the backward of the fused kernel takes up to four times as long as that of plain products (4 images of 197
    tokens, 12 heads, AMD EPYC). The softmax sums in fp32 in both. Plain products keep the weights of all pairs in
    memory.

    Args:
        query: (B, heads, N, C).
        key: (B, heads, N, C).
        value: (B, heads, N, C).
        attn_mask: As in torch's; the fused kernel takes it.
        dropout_p: Of attention weights; above 0 the fused kernel takes it.
        **options: Of torch's.

    Returns:
        (B, heads, N, C).
    """
    if query.device.type != 'cpu' or query.dtype != torch.bfloat16 or attn_mask is not None or dropout_p or options:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask, dropout_p=dropout_p, **options)
    scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)  # (B, heads, N, N)
    with torch.autocast('cpu', enabled=False):  # which would also keep the weights in fp32 for the backward pass
        weights = scores.softmax(dim=-1)
    return weights @ value


def use_attention(model: nn.Module) -> int:
    """Make every attention layer of mmpretrain's ViTs use :func:`attention`; returns their number.

    Swin's window attention is plain products already.
    """
    layers = [
        module
        for module in model.modules()
        if isinstance(module, MultiheadAttention) and module.scaled_dot_product_attention is upstream_attention
    ]
    for layer in layers:
        layer.scaled_dot_product_attention = attention
    return len(layers)
