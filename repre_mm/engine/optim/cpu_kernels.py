"""Speed up what is slow on CPUs by default: attention in bf16, memory allocation.

Results change by rounding only, and parameters keep their names.
"""

from __future__ import annotations

import ctypes
import math

import torch
import torch.nn.functional as F
from mmpretrain.models.utils.attention import MultiheadAttention
from mmpretrain.models.utils.attention import scaled_dot_product_attention as upstream_attention
from torch import Tensor, nn

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
