"""Cost of a pre-training step in parameters, multiply-adds and memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from mmengine.config import Config
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from repre_mm.datasets import view_sizes
from repre_mm.engine.checks.widths import build_without_memory, fake_loss, fake_tensors


@dataclass(frozen=True)
class Cost:
    """What a training step costs.

    Attributes:
        encoder_params: Parameters of the online encoder, which is what remains after pre-training.
        params: All trained parameters; the target network is not among them.
        step_macs: Multiply-adds of one training step (forward and backward of all views) per image.
        weight_bytes: Memory of parameters and buffers, the target network's included.
        state_bytes: Memory of the optimizer's state.
        step_bytes: Memory of the inputs, activations and gradients, where a step needs most of them at once.
    """

    encoder_params: int
    params: int
    step_macs: float
    weight_bytes: int
    state_bytes: int
    step_bytes: int


class LiveMemory(TorchDispatchMode):
    """Follow the memory of the tensors that operators make, from the first to the last reference.

    Attributes:
        peak: The most bytes that were alive at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: WeakSet[torch.UntypedStorage] = WeakSet()

    def __torch_dispatch__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Called by torch in place of each operator."""
        outputs = func(*args, **kwargs or {})
        for output in outputs if isinstance(outputs, (tuple, list)) else (outputs,):
            if isinstance(output, Tensor) and (storage := output.untyped_storage()) not in self._known:
                self._known.add(storage)
                self.live += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.peak = max(self.peak, self.live)
        return outputs

    def ignore(self, tensors: Iterable[Tensor]) -> None:
        """Leave tensors that exist already out of the account."""
        self._known.update(tensor.untyped_storage() for tensor in tensors)

    def _free(self, size: int) -> None:
        self.live -= size


def count_cost(cfg: Config, batch: int = 2) -> Cost:
    """Run a step of a config's model at its own image size on fake tensors, which have no memory, and count.

    Matrix products, convolutions and attention are counted; element-wise work is not, as is usual.

    Args:
        cfg: A pre-training config whose pipeline cuts views with ``MultiView``.
        batch: Images in the step; BatchNorm needs two.
    """
    model, sizes = build_without_memory(cfg), view_sizes(cfg.train_dataloader.dataset.pipeline)
    wrapper = cfg.get('optim_wrapper') or {}
    half = str(wrapper.get('type')).endswith(('BFloat16OptimWrapper', 'AmpOptimWrapper'))
    counter, memory = FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION), LiveMemory()
    with fake_tensors(model):
        weights = [*model.parameters(), *model.buffers()]
        memory.ignore(weights)
        with memory, counter:
            with torch.autocast('cpu', torch.bfloat16, enabled=half):
                loss = fake_loss(sizes, model, batch)
            loss.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    return Cost(
        encoder_params=sum(p.numel() for p in model.backbone.parameters()),
        params=sum(p.numel() for p in trained),
        step_macs=counter.get_total_flops() / 2 / batch,
        weight_bytes=sum(each.nbytes for each in weights),
        state_bytes=sum(p.nbytes for p in trained) * _averages(wrapper.get('optimizer') or {}),
        step_bytes=memory.peak,
    )


def _averages(optimizer: dict) -> int:
    """How many values an optimizer keeps of each parameter."""
    kind = str(optimizer.get('type')).rpartition('.')[2]
    return int(bool(optimizer.get('momentum'))) if kind == 'SGD' else 2


def _forward_flops(query: tuple, key: tuple, value: tuple, *args: object, **kwargs: object) -> int:
    return sdpa_flop_count(query, key, value)


def _backward_flops(gradient: tuple, query: tuple, key: tuple, value: tuple, *args: object, **kwargs: object) -> int:
    return 2 * sdpa_flop_count(query, key, value)  # without what the kernel computes again


#: The counter does not know the fused kernels of CPUs.
CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _forward_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward_flops,
}
