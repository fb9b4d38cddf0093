"""Checks of a model's set-up right before the first update, in any training loop.

A model never sees its optimizer under DDP, and mmengine's own Runner has no hooks of this package, so the checks wait
for the optimizer itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import cache

from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

Check = Callable[[nn.Module, Optimizer], bool]

_pending: list[tuple[weakref.ref, Check]] = []


def before_first_update(module: nn.Module, check: Check) -> None:
    """Call ``check(module, optimizer)`` right before each step of any optimizer, until it accepts one.

    Args:
        module: Referred to weakly.
        check: Returns whether the optimizer is the module's and right, or raises.
    """
    _watch_optimizers()
    _pending.append((weakref.ref(module), check))


@cache
def _watch_optimizers() -> None:
    register_optimizer_step_pre_hook(_look)


def _look(optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
    for entry in list(_pending):
        module = entry[0]()
        if module is None or entry[1](module, optimizer):
            _pending.remove(entry)
