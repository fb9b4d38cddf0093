"""Versions of the packages that a result depends on."""

from __future__ import annotations

import platform
from importlib import metadata


def stack_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    names = ['torch', 'torchvision', 'timm', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'repre_mm']
    return {'python': platform.python_version(), **{name: metadata.version(name) for name in names}}
