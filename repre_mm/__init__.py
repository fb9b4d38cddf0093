"""repre_mm: reconstructive pre-training (RePre, arXiv 2201.06857) for self-supervised vision transformers."""

from repre_mm.version import __version__

__all__ = ['__version__']
