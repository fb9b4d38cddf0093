"""Heat maps, principal components of patch tokens as colours, and the keys below such pictures."""

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
_BAR = (160, 12)


def heat_map(values: np.ndarray, low: float, high: float, size: int = 224) -> np.ndarray:
    """Draw a map in colours, without smoothing: the encoder sees no finer than these cells.

    Args:
        values: (h, w), any range.
        low: The value of the dark end of the colours.
        high: The value of the bright end.
        size: Shorter side of the picture in pixels.

    Returns:
        (H, W, 3) uint8, with the proportions of the map.
    """
    share = np.clip((np.asarray(values, dtype=np.float64) - low) / max(high - low, 1e-12), 0, 1)
    return enlarged(np.rint(_COLOURS(share)[..., :3] * 255).astype(np.uint8), size, smooth=False)


def enlarged(image: np.ndarray, size: int = 224, smooth: bool = True) -> np.ndarray:
    """Scale an image (H, W, 3) uint8 to a shorter side of ``size`` pixels, as :func:`heat_map` has it."""
    height, width = image.shape[:2]
    factor = size / min(height, width)
    shape = max(1, round(width * factor)), max(1, round(height * factor))
    resample = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.array(Image.fromarray(image).resize(shape, resample))


def with_scale(picture: np.ndarray, low: float, high: float, meaning: str) -> np.ndarray:
    """Add the colour scale of :func:`heat_map` below a picture.

    Args:
        picture: (H, W, 3) uint8.
        low: Value of the dark end.
        high: Value of the bright end.
        meaning: Name of the quantity.

    Returns:
        (H + 26, W, 3) uint8, wider where the text needs it.
    """
    font, margin = letters(13), 12
    strip = Image.fromarray(np.rint(_COLOURS(np.linspace(0, 1, _BAR[0]))[None, :, :3] * 255).astype(np.uint8))
    texts = (f'≤ {low:.3g}' if low else '0', f'≥ {high:.3g}', meaning)
    widths = [font.getlength(text) for text in texts]
    width = max(picture.shape[1], int(sum(widths)) + _BAR[0] + 2 * margin + 28)
    canvas = Image.new('RGB', (width, picture.shape[0] + 26), 'white')
    canvas.paste(Image.fromarray(picture), (0, 0))
    draw, y, x = ImageDraw.Draw(canvas), picture.shape[0], margin
    draw.text((x, y), texts[0], _INK, font)
    x += int(widths[0]) + 6
    canvas.paste(strip.resize(_BAR), (x, y + 3))
    x += _BAR[0] + 6
    draw.text((x, y), texts[1], _INK, font)
    draw.text((x + widths[1] + 16, y), meaning, _INK, font)
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
        ValueError: There are fewer than three channels or tokens, or values are not finite.
    """
    B, C, h, w = maps.shape
    tokens = maps.detach().double().cpu().permute(0, 2, 3, 1).reshape(-1, C)  # (B, C, h, w) -> (B * h * w, C)
    if min(tokens.shape) < 3:
        raise ValueError(f'three components need three channels and tokens, not {C} and {len(tokens)}')
    if not tokens.isfinite().all():
        raise ValueError('the patch tokens hold NaN or infinite values: the training has diverged')
    tokens = tokens - tokens.mean(0)
    _, _, axes = torch.linalg.svd(tokens, full_matrices=False)
    axes = axes[:3]  # (3, C)
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    values = (tokens @ axes.T).numpy()
    low, high = np.percentile(values, [2, 98], axis=0)
    share = np.clip((values - low) / np.maximum(high - low, 1e-12), 0, 1)
    return np.rint(share * 255).astype(np.uint8).reshape(B, h, w, 3)


def with_key(picture: np.ndarray, entries: Sequence[tuple[tuple[int, int, int], str]]) -> np.ndarray:
    """Add a key of frame colours below a picture.

    Args:
        picture: (H, W, 3) uint8.
        entries: Colours and their meanings.

    Returns:
        (H + 26, W, 3) uint8.
    """
    font, x, y = letters(13), 12, picture.shape[0]
    canvas = Image.new('RGB', (picture.shape[1], y + 26), 'white')
    canvas.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for colour, text in entries:
        draw.rectangle((x, y + 2, x + 14, y + 14), outline=colour, width=4)
        draw.text((x + 22, y), text, _INK, font)
        x += 22 + int(font.getlength(text)) + 24
    return np.array(canvas)


def framed(image: np.ndarray, colour: tuple[int, int, int] | None, width: int = 6) -> np.ndarray:
    """Draw a frame into the edge of an image (H, W, 3) uint8; no colour, no frame."""
    if colour is None:
        return image
    result = np.full_like(image, colour)
    result[width:-width, width:-width] = image[width:-width, width:-width]
    return result
