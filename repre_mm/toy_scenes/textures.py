"""Colours, surface textures and backgrounds: float32 RGB images in [0, 1], drawn alike for every class."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

STUFF: tuple[str, ...] = ('sky', 'wall', 'ground', 'clutter')


def random_color(rng: np.random.Generator) -> np.ndarray:
    """A random RGB colour (3,) in [0, 1]: any hue, dull to vivid, dark to light."""
    return _hsv_color(rng, (0.1, 0.85), (0.2, 0.95))


def _hsv_color(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value)), np.float32)


def contrasting_color(rng: np.random.Generator, others: list[np.ndarray], distance: float) -> np.ndarray:
    """A random colour at least ``distance`` from all ``others``, in CIE Lab with the colour axes halved.

    Of 16 draws the first that is far enough; where none is, the farthest of them.
    """
    reference = _lab(np.stack(others))
    candidates = np.stack([random_color(rng) for _ in range(16)])
    gaps = np.linalg.norm(_lab(candidates)[:, None] - reference[None], axis=2).min(axis=1)
    far = np.flatnonzero(gaps >= distance)
    return candidates[far[0] if len(far) else gaps.argmax()]


def _lab(colors: np.ndarray) -> np.ndarray:
    # Lightness counts double: shapes must stay visible in the grey views of the usual augmentations.
    return cv2.cvtColor(colors[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0] * np.float32([1, 0.5, 0.5])


def noise(rng: np.random.Generator, height: int, width: int, cells: float) -> np.ndarray:
    """Smooth noise (H, W) in about [-1, 1] with ``cells`` bumps along the longer side."""
    rows, cols = (max(2, round(cells * n / max(height, width))) for n in (height, width))
    coarse = rng.uniform(-1, 1, (rows, cols)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _fractal(rng: np.random.Generator, height: int, width: int, octaves: tuple[float, ...]) -> np.ndarray:
    return sum(noise(rng, height, width, cells) / (k + 1) ** 0.5 for k, cells in enumerate(octaves))


def _waves(rng: np.random.Generator, height: int, width: int, periods: float) -> tuple[np.ndarray, np.ndarray]:
    """Two crossing waves (H, W) in [-1, 1] at a random angle, with ``periods`` along the longer side."""
    y, x = np.mgrid[:height, :width].astype(np.float32) * (2 * np.pi * periods / max(height, width))
    a, shift = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi, 2)
    return np.sin(np.cos(a) * x + np.sin(a) * y + shift[0]), np.sin(np.cos(a) * y - np.sin(a) * x + shift[1])


def _pattern(rng: np.random.Generator, height: int, width: int, periods: float) -> np.ndarray:
    """Stripes, checks or dots (H, W) in [-1, 1]."""
    p, q = _waves(rng, height, width, periods)
    mixed = (p, p * q, np.minimum(p, q))[rng.integers(3)]
    return np.clip(mixed * rng.uniform(1.5, 5), -1, 1)


def surface(rng: np.random.Generator, color: np.ndarray, height: int, width: int, scale: float) -> np.ndarray:
    """The texture of one part (H, W, 3): plain, grainy or patterned, with a soft change of light.

    Args:
        rng: Random source.
        color: RGB (3,) in [0, 1], the mean colour.
        height: Image height in pixels.
        width: Image width in pixels.
        scale: Size of the object relative to the longer image side; patterns shrink with it.
    """
    light = 1 + rng.uniform(0.05, 0.2) * noise(rng, height, width, 3 / scale)
    kind = rng.random()
    if kind < 0.3:
        light += rng.uniform(0.05, 0.15) * _pattern(rng, height, width, rng.uniform(5, 12) / scale)
    elif kind < 0.55:
        light += rng.uniform(0.05, 0.15) * noise(rng, height, width, rng.uniform(12, 30))
    return np.clip(color * light[..., None], 0, 1).astype(np.float32)


def background(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A backdrop above a tilted horizon, which may lie outside the image.

    Sky is smooth, wall is patterned and ground is grainy. Their colours come from one distribution, duller and darker
    than that of the objects, so that pictures differ by their objects more than by their backdrops.

    Returns:
        The image (H, W, 3) and the indices into :data:`STUFF` (H, W), uint8.
    """
    image = np.empty((height, width, 3), np.float32)
    y, x = np.mgrid[:height, :width]
    horizon = rng.uniform(0.1, 1.1) * height + rng.uniform(-0.15, 0.15) * (x - width / 2)
    upper = rng.integers(2)
    stuff = np.where(y < horizon, upper, STUFF.index('ground')).astype(np.uint8)
    relief = {
        'sky': rng.uniform(0.02, 0.06) * _fractal(rng, height, width, (2, 4)),
        'wall': rng.uniform(0.01, 0.04) * _pattern(rng, height, width, rng.uniform(4, 14)),
        'ground': rng.uniform(0.01, 0.04) * _fractal(rng, height, width, (6, 20, 50)),
    }
    for name in (STUFF[upper], 'ground'):
        color = _hsv_color(rng, (0.05, 0.45), (0.15, 0.65))
        region = stuff == STUFF.index(name)
        image[region] = (color * (1 + relief[name])[..., None])[region]
    return np.clip(image, 0, 1), stuff
