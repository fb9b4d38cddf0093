"""Unwrap a model; switch modules to evaluation mode and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.model import is_model_wrapper
from torch import nn


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
