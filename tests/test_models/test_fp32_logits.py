"""Logits of the contrastive losses under bf16 autocast: belongs to all of repre_mm/models/selfsup."""

import pytest
import torch
from fixtures.methods import build, views_for
from torch.utils._python_dispatch import TorchDispatchMode


class Seen(TorchDispatchMode):
    """Keep what every softmax is computed from."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[torch.Tensor] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._log_softmax.default, torch.ops.aten._softmax.default):
            self.inputs.append(args[0])
        return result


def rounded(tensor: torch.Tensor) -> bool:
    """Whether every number is one of bf16."""
    return torch.equal(tensor, tensor.bfloat16().to(tensor.dtype))


@pytest.mark.parametrize('method', ['simclr', 'mocov2', 'mocov3', 'moby', 'dino'])
def test_logits_are_not_rounded_to_bf16(method):
    model = build(method, 'vit')
    with torch.autocast('cpu', dtype=torch.bfloat16), Seen() as seen:
        model.algorithm.loss(views_for(method, 'vit'), None)
    # Attention has its own softmax, of four dimensions.
    logits = [tensor for tensor in seen.inputs if tensor.ndim == 2]
    assert logits
    for tensor in logits:
        assert tensor.dtype == torch.float32
        # A number that came out of a product in bf16 and was cast or scaled afterwards.
        assert not rounded(tensor) and not rounded(tensor * 0.2) and not rounded(tensor * 0.1)
