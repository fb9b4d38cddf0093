"""The random steps of a view, with the names, arguments and distributions of mmpretrain's, on the kernels of pixels.py.

All draws come from Python's ``random``, which mmengine seeds in every data-loading worker; a call takes a tenth of the
time of one to numpy's. Whether a step happens is drawn before what it does.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from repre_mm.datasets.views import pixels

Step = Callable[[np.ndarray], np.ndarray]

_MAX_ATTEMPTS = 10  # as in torchvision and mmpretrain


@dataclass
class RandomResizedCrop:
    """A box of random area and shape; the first step of a view, and the only one that sees the whole image.

    Args:
        scale: The view's side in pixels.
        crop_ratio_range: Share of the image's area, uniform.
        aspect_ratio_range: Width by height, its logarithm uniform.
        interpolation: ``'bilinear'`` or ``'bicubic'``.
        backend: ``'pillow'``, whose filter does not alias when it shrinks.
    """

    scale: int
    crop_ratio_range: Sequence[float] = (0.08, 1.0)
    aspect_ratio_range: Sequence[float] = (3 / 4, 4 / 3)
    interpolation: str = 'bilinear'
    backend: str = 'cv2'

    def __post_init__(self) -> None:
        _require(isinstance(self.scale, int), f'scale must be one int, not {self.scale!r}')
        _require(self.backend == 'pillow', f"backend must be 'pillow', not {self.backend!r}, whose views are aliased")
        modes = ('bilinear', 'bicubic')
        _require(self.interpolation in modes, f'interpolation must be one of {modes}, not {self.interpolation!r}')

    def draw(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Draw a box in an image of this size: top, left, height and width."""
        low, high = self.aspect_ratio_range
        for _ in range(_MAX_ATTEMPTS):
            area = random.uniform(*self.crop_ratio_range) * height * width
            aspect = math.exp(random.uniform(math.log(low), math.log(high)))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                return random.randint(0, height - h), random.randint(0, width - w), h, w
        # The largest box in the middle that has an allowed shape.
        aspect = min(max(width / height, low), high)
        w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
        return (height - h) // 2, (width - w) // 2, h, w


@dataclass(kw_only=True)
class _Chance:
    """A step that happens with probability ``prob``."""

    prob: float = 0.5

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return self._change(image) if random.random() < self.prob else image


@dataclass(kw_only=True)
class RandomFlip(_Chance):
    """Flip from left to right."""

    def _change(self, image: np.ndarray) -> np.ndarray:
        return pixels.flip(image)


@dataclass(kw_only=True)
class RandomApply(_Chance):
    """Apply all of these steps, or none."""

    transforms: Sequence[dict] | dict

    def __post_init__(self) -> None:
        configs = [self.transforms] if isinstance(self.transforms, dict) else self.transforms
        self.steps = [build_step(config) for config in configs]

    def _change(self, image: np.ndarray) -> np.ndarray:
        for step in self.steps:
            image = step(image)
        return image


@dataclass
class ColorJitter:
    """Brightness, contrast, saturation and hue, in random order; a number v means 1 - v to 1 + v, for hue -v to v."""

    brightness: float | Sequence[float] = 0.0
    contrast: float | Sequence[float] = 0.0
    saturation: float | Sequence[float] = 0.0
    hue: float | Sequence[float] = 0.0
    backend: str = 'pillow'  # accepted and ignored: both give the same up to rounding

    def __post_init__(self) -> None:
        #: Range of each factor, without those that change nothing.
        self.ranges: dict[str, tuple[float, float]] = {}
        for name, nothing in (('brightness', 1.0), ('contrast', 1.0), ('saturation', 1.0), ('hue', 0.0)):
            value = getattr(self, name)
            low, high = (nothing - value, nothing + value) if isinstance(value, int | float) else value
            if nothing:
                low = max(0.0, low)
            if (low, high) != (nothing, nothing):
                self.ranges[name] = float(low), float(high)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        for name, (low, high) in random.sample([*self.ranges.items()], len(self.ranges)):
            image = getattr(pixels, name)(image, random.uniform(low, high))
        return image


@dataclass(kw_only=True)
class RandomGrayscale(_Chance):
    """Turn grey, in three equal channels."""

    prob: float = 0.1
    keep_channels: bool = False
    channel_weights: Sequence[float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        _require(self.keep_channels, 'keep_channels must be True: an encoder takes three')
        weights = np.asarray(self.channel_weights, float)
        luma = np.allclose(weights / weights.sum(), pixels.BGR_LUMA, atol=1e-3)  # some configs have 0.2989
        _require(luma, f'channel_weights must be {pixels.BGR_LUMA}, the luma of BGR, not {self.channel_weights}')

    def _change(self, image: np.ndarray) -> np.ndarray:
        return pixels.greyscale(image)


@dataclass(kw_only=True)
class GaussianBlur(_Chance):
    """Blur with a standard deviation that is uniform in ``magnitude_range``, in pixels."""

    magnitude_range: Sequence[float]
    magnitude_std: str

    def __post_init__(self) -> None:
        _require(self.magnitude_std == 'inf', f"magnitude_std must be 'inf' (uniform), not {self.magnitude_std!r}")

    def _change(self, image: np.ndarray) -> np.ndarray:
        return pixels.gaussian_blur(image, random.uniform(*self.magnitude_range))


@dataclass(kw_only=True)
class Solarize(_Chance):
    """Invert values from ``thr`` up."""

    thr: float

    def _change(self, image: np.ndarray) -> np.ndarray:
        return pixels.solarize(image, self.thr)


_STEPS = {
    kind.__name__: kind
    for kind in (RandomResizedCrop, RandomFlip, RandomApply, ColorJitter, RandomGrayscale, GaussianBlur, Solarize)
}


def build_step(config: dict) -> Any:
    """Build a step from the config of mmpretrain's.

    Raises:
        ValueError: There is no fast version of the step or of its arguments.
    """
    arguments = dict(config)
    name = arguments.pop('type').rpartition('.')[2]
    if name not in _STEPS:
        raise ValueError(f"there is no fast {name}, only {', '.join(_STEPS)}. Use type='MultiView' for such views")
    try:
        step = _STEPS[name](**arguments)
        _require(0 <= arguments.get('prob', 1) <= 1, f'prob={arguments.get("prob")} must lie in [0, 1]')
        return step
    except (TypeError, ValueError) as error:
        raise ValueError(f"the fast {name} cannot do this: {error}. Use type='MultiView' for such views") from error


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
