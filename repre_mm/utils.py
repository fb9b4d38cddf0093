"""Small helpers that belong to no room of their own."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

from torch import nn


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


def stack_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    names = ['torch', 'torchvision', 'timm', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'repre_mm']
    return {'python': platform.python_version(), **{name: metadata.version(name) for name in names}}
