"""Unwrap a model; switch evaluation mode and autocast for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch.amp.autocast_mode import is_autocast_available


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside DDP, FSDP or another wrapper; the model itself where there is none."""
    return model.module if is_model_wrapper(model) else model


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode for a while and give every submodule its former mode back.

    ``module.train()`` would not do to restore: it turns on frozen parts that were in evaluation mode before.
    """
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for child, training in modes.items():
            child.training = training


def no_autocast(tensor: Tensor) -> AbstractContextManager:
    """Turn autocast off for the device of a tensor; the meta device has none."""
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if is_autocast_available(device) else nullcontext()


def at_least_fp32(tensor: Tensor) -> Tensor:
    """A half-precision tensor in fp32; any other as it is."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
