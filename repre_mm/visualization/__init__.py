"""Pictures from arrays."""

from repre_mm.visualization.grids import reconstruction_grid, save_png

__all__ = ['reconstruction_grid', 'save_png']
