"""Pictures that set reconstructions beside their inputs, made from arrays alone."""

import math
import os
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw

from repre_mm.visualization.text import letters

_MIN_TILE = 160  # pixels: smaller images are enlarged until a person can see something
_GAP = 8
_MARGIN = 20
_FONT_SIZE = 14
_LINE = 20
_INK, _FAINT = (32, 36, 42), (110, 118, 129)
_ERROR_COLOURS = matplotlib.colormaps['magma']
_BAR_SIZE = (100, 10)

Array = np.ndarray | torch.Tensor


def reconstruction_grid(
    inputs: Array, reconstructions: Array, *, max_images: int = 8, labels: bool = True
) -> np.ndarray:
    """Draw input, reconstruction and absolute error in three rows, one column per image.

    The error is the mean over the channels of the absolute difference, on one scale for the whole picture:
    from 0 to its 99.5th percentile, rounded up to one digit. Its mean, the L1 that is trained, stands under
    each column. Images smaller than 160 pixels are enlarged by a whole factor without smoothing.

    Args:
        inputs: (B, 3, H, W), RGB, values in [0, 1].
        reconstructions: the same shape; values outside of [0, 1] count in the error and are clipped for
            display.
        max_images: draw the first so many.
        labels: write captions, numbers and the error's scale.

    Returns:
        uint8 array of shape (height, width, 3), RGB.

    Raises:
        ValueError: the shapes differ or are not (B, 3, H, W) with B > 0, the inputs leave [0, 1] (normalised
            pixels?), a value is not finite, or ``max_images`` is below 1.
    """
    if max_images < 1:
        raise ValueError(f'max_images must be at least 1, not {max_images}')
    inputs = _to_numpy('inputs', inputs)[:max_images]
    reconstructions = _to_numpy('reconstructions', reconstructions)[:max_images]
    if inputs.shape != reconstructions.shape:
        raise ValueError(f'shapes differ: inputs {inputs.shape}, reconstructions {reconstructions.shape}')
    if inputs.min() < 0 or inputs.max() > 1:
        raise ValueError(
            f'inputs must lie in [0, 1], but go from {inputs.min():.3g} to {inputs.max():.3g}: '
            'give the pixels before mean/std normalisation'
        )

    errors = np.abs(inputs - reconstructions).mean(axis=1)  # (B, 3, H, W) -> (B, H, W)
    scale = _round_up(float(np.percentile(errors, 99.5)))
    rows = [
        _to_uint8(inputs.transpose(0, 2, 3, 1)),
        _to_uint8(reconstructions.transpose(0, 2, 3, 1)),
        _to_uint8(_ERROR_COLOURS(np.minimum(errors / scale, 1))[..., :3]),
    ]
    factor = max(1, math.ceil(_MIN_TILE / min(errors.shape[1:])))
    rows = [row.repeat(factor, axis=1).repeat(factor, axis=2) for row in rows]
    return _lay_out(rows, errors.mean(axis=(1, 2)), scale, labels)


def save_png(array: np.ndarray, path: str | os.PathLike) -> None:
    """Write a picture as PNG, whole or not at all: a reader never sees half a file. Missing folders are made.

    Args:
        array: uint8, (H, W, 3), RGB.
        path: where to; an existing file is replaced.

    Raises:
        ValueError: ``array`` is not uint8 of shape (H, W, 3).
    """
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f'a picture is uint8 of shape (H, W, 3), not {array.dtype} of shape {array.shape}')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        Image.fromarray(array).save(draft, format='PNG')
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _lay_out(rows: list[np.ndarray], l1: np.ndarray, scale: float, labels: bool) -> np.ndarray:
    """Place rows of tiles, each (B, h, w, 3), on white; captions go left of rows and below columns."""
    count, height, width = rows[0].shape[:3]
    font = letters(_FONT_SIZE)
    captions = ['input', 'reconstruction', 'absolute error']
    left = top = _MARGIN
    if labels:
        left += int(max(font.getlength(caption) for caption in [*captions, f'mean L1 = {l1.mean():.4f}'])) + 2 * _GAP
    right = left + count * (width + _GAP) - _GAP
    bottom = top + len(rows) * (height + _GAP) - _GAP
    size = (right + _MARGIN, bottom + _MARGIN + (_LINE if labels else 0))

    canvas = Image.new('RGB', size, 'white')
    for row, tiles in enumerate(rows):
        for column, tile in enumerate(tiles):
            canvas.paste(Image.fromarray(tile), (left + column * (width + _GAP), top + row * (height + _GAP)))
    if not labels:
        return np.array(canvas)

    draw = ImageDraw.Draw(canvas)
    for row, caption in enumerate(captions):
        draw.text((_MARGIN, top + row * (height + _GAP)), caption, _INK, font)
    for column, value in enumerate(l1):
        x = left + column * (width + _GAP) + width // 2
        draw.text((x, bottom + 4), f'L1 = {value:.4f}', _INK, font, anchor='ma')
    y = top + 2 * (height + _GAP) + _LINE
    draw.text((_MARGIN, y), f'mean L1 = {l1.mean():.4f}', _INK, font)
    ramp = _to_uint8(_ERROR_COLOURS(np.linspace(0, 1, _BAR_SIZE[0]))[None, :, :3])
    y += int(1.5 * _LINE)
    canvas.paste(Image.fromarray(ramp.repeat(_BAR_SIZE[1], axis=0)), (_MARGIN, y))
    draw.text((_MARGIN, y + _BAR_SIZE[1] + 3), '0', _FAINT, font)
    draw.text((_MARGIN + _BAR_SIZE[0], y + _BAR_SIZE[1] + 3), f'{scale:g}', _FAINT, font, anchor='ra')
    return np.array(canvas)


def _to_numpy(name: str, images: Array) -> np.ndarray:
    if isinstance(images, torch.Tensor):
        images = images.detach().float().cpu().numpy()
    images = np.asarray(images, dtype=np.float32)
    if images.ndim != 4 or images.shape[1] != 3 or images.size == 0:
        raise ValueError(f'{name} must have shape (B, 3, H, W) with B > 0, not {images.shape}')
    if not np.isfinite(images).all():
        raise ValueError(f'{name} hold NaN or infinite values')
    return images


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _round_up(value: float) -> float:
    """Up to one significant digit: 0.034 -> 0.04. Zero gives the smallest step that 8 bits can show."""
    if value <= 0:
        return 1 / 255
    unit = 10.0 ** math.floor(math.log10(value))
    return math.ceil(value / unit - 1e-6) * unit
