"""The font of all pictures."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageFont


@cache
def letters(size: int) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans from matplotlib: Pillow's own font lacks accents, Greek, Cyrillic and signs such as ≤.

    Args:
        size: Height in pixels.
    """
    return ImageFont.truetype(Path(matplotlib.get_data_path(), 'fonts/ttf/DejaVuSans.ttf'), size)
