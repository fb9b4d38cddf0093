"""Grids of inputs, reconstructions and errors, and the writing of pictures."""

import math
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from repre_mm.utils.atomic import write_atomically
from repre_mm.visualization.maps import enlarged, heat_map, with_scale
from repre_mm.visualization.overlays import sheet

_MIN_TILE = 160  # pixels: smaller images are enlarged

Array = np.ndarray | torch.Tensor


def reconstruction_grid(inputs: Array, reconstructions: Array, *, max_images: int = 8) -> np.ndarray:
    """Draw input, reconstruction and absolute error in three rows, one column per image.

    The error is the mean over the channels of the absolute difference, on one scale for the whole picture: from 0 to
    its 99.5th percentile. Its mean, the L1 that is trained, stands above each column. Images smaller than 160 pixels
    are enlarged by a whole factor without smoothing.

    Args:
        inputs: (B, 3, H, W), RGB, values in [0, 1].
        reconstructions: The same shape; values outside [0, 1] count in the error and are clipped for display.
        max_images: Draw at most this many.

    Returns:
        (height, width, 3) uint8, RGB.

    Raises:
        ValueError: The inputs leave [0, 1] (normalised pixels?), or a value is not finite.
    """
    inputs, reconstructions = (
        torch.as_tensor(images)[:max_images].detach().float().cpu().numpy() for images in (inputs, reconstructions)
    )
    if not np.isfinite(reconstructions).all():
        raise ValueError('reconstructions hold NaN or infinite values')
    if inputs.min() < 0 or inputs.max() > 1:
        raise ValueError(
            f'inputs must lie in [0, 1], but go from {inputs.min():.3g} to {inputs.max():.3g}: '
            'give the pixels before mean/std normalisation'
        )
    errors = np.abs(inputs - reconstructions).mean(axis=1)  # (B, 3, H, W) -> (B, H, W)
    # At least the smallest step that 8 bits can show.
    l1, scale = errors.mean(axis=(1, 2)), max(1 / 255, float(np.percentile(errors, 99.5)))
    side = min(errors.shape[1:])
    size = side * max(1, math.ceil(_MIN_TILE / side))
    rows = [
        *([enlarged(tile, size) for tile in _to_uint8(images)] for images in (inputs, reconstructions)),
        [heat_map(error, 0, scale, size) for error in errors],
    ]
    picture = sheet(rows, [f'L1 = {value:.4f}' for value in l1], ['input', 'reconstruction', 'absolute error'])
    return with_scale(picture, 0, scale, f'absolute error; mean L1 = {l1.mean():.4f}')


def save_png(array: np.ndarray, path: str | os.PathLike) -> None:
    """Write a picture (H, W, 3) uint8 RGB as PNG, whole or not at all; missing folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda draft: Image.fromarray(array).save(draft, format='PNG'))


def _to_uint8(images: np.ndarray) -> np.ndarray:
    """(B, 3, H, W) in [0, 1] -> (B, H, W, 3) uint8."""
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
