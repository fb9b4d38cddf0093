"""repre_mm: reconstructive pre-training (RePre, arXiv 2201.06857) for self-supervised vision transformers."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from repre_mm.version import __version__

# Imported when they are first used: `import repre_mm` alone stays quick.
_API = {'Encoder': 'encoder', 'export': 'encoder', 'load_encoder': 'encoder', 'pretrain': 'pretraining'}

__all__ = ['Encoder', '__version__', 'export', 'load_encoder', 'pretrain']


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'repre_mm.apis.{_API[name]}'), name)
