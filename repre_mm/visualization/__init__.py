"""Pictures from arrays, and the report page; no models here."""

from repre_mm.visualization.grids import reconstruction_grid, save_png
from repre_mm.visualization.overlays import draw_labels, draw_objects, sheet

__all__ = ['draw_labels', 'draw_objects', 'reconstruction_grid', 'save_png', 'sheet']
