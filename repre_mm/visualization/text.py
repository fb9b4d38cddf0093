"""Font of all pictures."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageFont


@cache
def letters(size: int) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans from matplotlib, ``size`` pixels high: Pillow's own font lacks accents and signs such as ≤."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), 'fonts/ttf/DejaVuSans.ttf')), size)
