"""Heat maps, principal components of patch tokens as colours, and keys below pictures."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from repre_mm.visualization.text import letters

_COLOURS = matplotlib.colormaps['magma']  # ordered by lightness: readable without colour vision and in print
_INK = (32, 36, 42)
_FONT = letters(13)
_BAR, _MARGIN = (160, 12), 12


def heat_map(values: np.ndarray, low: float, high: float, size: int = 224) -> np.ndarray:
    """Draw a map (h, w) in colours from ``low`` (dark) to ``high`` (bright), without smoothing.

    Returns:
        (H, W, 3) uint8 with the proportions of the map and a shorter side of ``size``.
    """
    share = np.clip((np.asarray(values, dtype=np.float64) - low) / max(high - low, 1e-12), 0, 1)
    return enlarged(np.rint(_COLOURS(share)[..., :3] * 255).astype(np.uint8), size)


def enlarged(image: np.ndarray, size: int) -> np.ndarray:
    """Scale an image (H, W, 3) uint8 to a shorter side of ``size`` pixels, without smoothing."""
    height, width = image.shape[:2]
    factor = size / min(height, width)
    return np.array(Image.fromarray(image).resize((round(width * factor), round(height * factor)), Image.NEAREST))


def with_scale(picture: np.ndarray, low: float, high: float, meaning: str) -> np.ndarray:
    """Add the colour scale of :func:`heat_map` and its meaning below a picture (H, W, 3) uint8.

    Returns:
        (H + 26, W, 3) uint8, wider where the text needs it.
    """
    least, text = f'≤ {low:.3g}' if low else '0', f'≥ {high:.3g}    {meaning}'
    x, y = 2 * _MARGIN + int(_FONT.getlength(least)), picture.shape[0]
    canvas, draw = _with_strip(picture, x + _BAR[0] + 2 * _MARGIN + int(_FONT.getlength(text)))
    draw.text((_MARGIN, y), least, _INK, _FONT)
    canvas.paste(Image.fromarray(heat_map(np.linspace(0, 1, _BAR[0])[None], 0, 1, 1)).resize(_BAR), (x, y + 3))
    draw.text((x + _BAR[0] + _MARGIN, y), text, _INK, _FONT)
    return np.array(canvas)


def component_colours(maps: Tensor) -> np.ndarray:
    """Show the first three principal components of patch tokens as red, green and blue.

    The components are those of all images together, so a colour means the same in each. The 2nd to 98th percentile of a
    component fills the range of its colour; its largest weight is positive.

    Args:
        maps: (B, C, h, w) with C >= 3.

    Returns:
        (B, h, w, 3) uint8.

    Raises:
        ValueError: A value is not finite.
    """
    B, C, h, w = maps.shape
    tokens = maps.detach().double().cpu().permute(0, 2, 3, 1).reshape(-1, C)  # (B, C, h, w) -> (B * h * w, C)
    if not tokens.isfinite().all():
        raise ValueError('the patch tokens hold NaN or infinite values: the training has diverged')
    tokens = tokens - tokens.mean(0)
    _, _, axes = torch.linalg.svd(tokens, full_matrices=False)
    axes = axes[:3]  # (3, C)
    axes *= axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    values = (tokens @ axes.T).numpy()
    low, high = np.percentile(values, [2, 98], axis=0)
    share = np.clip((values - low) / np.maximum(high - low, 1e-12), 0, 1)
    return np.rint(share * 255).astype(np.uint8).reshape(B, h, w, 3)


def with_key(picture: np.ndarray, entries: Sequence[tuple[tuple[int, int, int], str]]) -> np.ndarray:
    """Add colours of frames and their meanings below a picture: (H, W, 3) uint8 -> (H + 26, W, 3)."""
    canvas, draw = _with_strip(picture)
    x, y = _MARGIN, picture.shape[0]
    for colour, text in entries:
        draw.rectangle((x, y + 2, x + 14, y + 14), outline=colour, width=4)
        draw.text((x + 22, y), text, _INK, _FONT)
        x += 22 + int(_FONT.getlength(text)) + 24
    return np.array(canvas)


def _with_strip(picture: np.ndarray, width: int = 0) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Add a white strip below a picture, at least ``width`` pixels wide."""
    canvas = Image.new('RGB', (max(width, picture.shape[1]), picture.shape[0] + 26), 'white')
    canvas.paste(Image.fromarray(picture), (0, 0))
    return canvas, ImageDraw.Draw(canvas)


def framed(image: np.ndarray, colour: tuple[int, int, int] | None, width: int = 6) -> np.ndarray:
    """Draw a frame into the edge of an image (H, W, 3) uint8; no colour, no frame."""
    if colour is None:
        return image
    result = np.full_like(image, colour)
    result[width:-width, width:-width] = image[width:-width, width:-width]
    return result
