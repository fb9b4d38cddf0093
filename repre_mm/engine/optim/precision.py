"""Train in bf16 autocast on any device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from repre_mm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Run the forward in bf16 autocast, on CPU and GPU; ``--amp`` selects it.

    mmengine's AmpOptimWrapper refuses a CPU. bf16 has fp32's range, so no loss scaling is needed.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward, inside mmengine's own context (gradient accumulation under DDP)."""
        device = next(model.parameters()).device
        with super().optim_context(model), torch.autocast(device.type, dtype=torch.bfloat16):
            yield
