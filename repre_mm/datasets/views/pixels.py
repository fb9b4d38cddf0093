"""What augmentation does to pixels, by the quickest kernel that gives what Pillow gives.

Every function takes and returns contiguous uint8 arrays (H, W, 3), channels in BGR order, and rounds to 8 bits as
Pillow does between any two steps; nothing is changed in place. tests/test_datasets/test_fast_views.py says how far each
one is from torchvision on Pillow images, which the authors' codes use.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
import torch
import torch.nn.functional as F


def resized_crop(
    image: np.ndarray, top: int, left: int, height: int, width: int, size: int, interpolation: str
) -> np.ndarray:
    """Cut a box and bring it to ``size`` x ``size``, ``'bilinear'`` or ``'bicubic'``.

    Shrinking widens the filter as Pillow does. OpenCV's own resizing does not, so its small views would be aliased; and
    its area filter is three times slower than this one.
    """
    box = torch.from_numpy(image[top : top + height, left : left + width])
    # (h, w, 3) -> (1, 3, h, w), in memory still h, w, 3: what torch has vector code for.
    box = box.permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
    view = F.interpolate(box, size=(size, size), mode=interpolation, antialias=True)
    # (1, 3, size, size) -> (size, size, 3)
    return np.ascontiguousarray(view[0].permute(1, 2, 0).numpy())


def flip(image: np.ndarray) -> np.ndarray:
    """Left becomes right."""
    return cv2.flip(image, 1)


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply by a factor of at least 0."""
    return cv2.convertScaleAbs(image, alpha=factor)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Spread around the mean grey of the image, which is rounded as torchvision does."""
    mean = int(cv2.mean(_grey(image))[0] + 0.5)
    # convertScaleAbs would mirror what falls below zero; a weighted sum ends there.
    return cv2.addWeighted(image, factor, image, 0.0, mean * (1.0 - factor))


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Spread every pixel around its own grey."""
    return cv2.addWeighted(image, factor, greyscale(image), 1.0 - factor, 0.0)


def hue(image: np.ndarray, shift: float) -> np.ndarray:
    """Turn the hue by a share of the full circle, -0.5 to 0.5, in HSV with 8 bits each as Pillow's."""
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL)
    hsv[..., 0] += np.uint8(round(shift * 256) % 256)  # 256 steps are the circle: it closes by itself
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)


def greyscale(image: np.ndarray) -> np.ndarray:
    """Luma of ITU-R BT.601, three times."""
    return cv2.cvtColor(_grey(image), cv2.COLOR_GRAY2BGR)


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur with a standard deviation in pixels; beyond the edge the outermost pixels go on."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    """Invert what is not below the threshold."""
    return cv2.LUT(image, _solarized(threshold))


def planes_first(image: np.ndarray) -> np.ndarray:
    """The same array, laid out in memory plane by plane, from which ``PackInputs`` makes (3, H, W) without a copy."""
    planes = np.empty((3, *image.shape[:2]), np.uint8)
    cv2.split(image, list(planes))
    return planes.transpose(1, 2, 0)


@functools.cache
def _solarized(threshold: float) -> np.ndarray:
    """What becomes of each of the 256 values."""
    values = np.arange(256, dtype=np.uint8)
    return np.where(values < threshold, values, 255 - values)


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
