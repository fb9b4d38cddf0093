"""Checkpoint an encoder's blocks (less memory, more time) or compile them (a slow start, fewer kernels).

Forward hooks from outside, such as the taps of RePre, see the output of a block as before; parameters keep their names,
and copies of the encoder keep the change. ``tools/benchmarks/step.py`` measures both.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from repre_mm.models.taps import encoder_levels


def encoder_blocks(backbone: nn.Module) -> list[nn.Module]:
    """List the blocks of an encoder from shallow to deep, also those within the stages of a Swin.

    Raises:
        TypeError: The encoder is of no known family.
    """
    blocks: list[nn.Module] = []
    for level in encoder_levels(backbone).modules:
        inner = getattr(level, 'blocks', level)
        blocks += inner if isinstance(inner, (nn.Sequential, nn.ModuleList)) else [level]
    return blocks


def checkpoint_blocks(backbone: nn.Module) -> int:
    """Keep only each block's input for the backward pass, and compute the block a second time there.

    Losses and gradients stay the same: the second forward draws the random numbers of the first (drop path).

    Args:
        backbone: An encoder of a known family; changed in place.

    Returns:
        The number of blocks.

    Raises:
        TypeError: The encoder is of no known family.
        ValueError: A block holds BatchNorm, whose running statistics would see every batch twice.
    """
    blocks = encoder_blocks(backbone)
    if any(isinstance(module, _BatchNorm) for block in blocks for module in block.modules()):
        raise ValueError(
            f'the blocks of {type(backbone).__name__} hold BatchNorm, whose running statistics would see every batch '
            'twice with gradient checkpointing: leave it out (default_hooks.step.checkpoint=False)'
        )
    for block in blocks:
        # Copies of the block bind this to themselves.
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return len(blocks)


def compile_blocks(backbone: nn.Module, **options: Any) -> int:
    """Compile the blocks with :func:`torch.compile`; the first steps then take a minute or so.

    The encoder as a whole would be compiled together with the taps that are open at the time: torch.compile does not
    check a module's hooks again.

    Args:
        backbone: An encoder of a known family; changed in place.
        **options: To :func:`torch.compile`.

    Returns:
        The number of blocks.

    Raises:
        TypeError: The encoder is of no known family.
    """
    blocks = encoder_blocks(backbone)
    # Each shape is compiled by itself: code for any shape takes minutes for a Swin, whose stages differ.
    options = {'dynamic': False, **options}
    compiled = {
        cls: type(f'Compiled{cls.__name__}', (cls,), {'forward': torch.compile(cls.forward, **options)})
        for cls in {type(block) for block in blocks}
    }
    for block in blocks:
        block.__class__ = compiled[type(block)]
    # Each rate of drop path, size of crops, and mode of gradients counts. Beyond its limit torch runs uncompiled.
    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = max(limit, 4 * len(blocks))
    return len(blocks)
