"""CPU kernels of augmentation: the fastest found that give what Pillow gives.

Every function takes and returns contiguous uint8 arrays (H, W, 3) in BGR order, rounds to 8 bits after each step as
Pillow does, and changes nothing in place. tests/test_datasets/test_views_pixels.py holds their distance from
torchvision on Pillow images, which the authors' codes use.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F

BGR_LUMA = (0.114, 0.587, 0.299)


def resized_crop(
    image: np.ndarray, top: int, left: int, height: int, width: int, size: int, interpolation: str
) -> np.ndarray:
    """Cut a box and resize it to ``size`` x ``size``, ``'bilinear'`` or ``'bicubic'``.

    The filter widens with the reduction, as Pillow's. OpenCV's does not, so that small views would be aliased; its area
    filter is three times slower than this one.
    """
    box = torch.from_numpy(np.ascontiguousarray(image[top : top + height, left : left + width]))
    # (h, w, 3) -> (1, 3, h, w), still h, w, 3 in memory: torch has vector code for that layout, which it tells by the
    # stride of the first dimension too.
    view = F.interpolate(box[None].permute(0, 3, 1, 2), size=(size, size), mode=interpolation, antialias=True)
    # (1, 3, size, size) -> (size, size, 3)
    return np.ascontiguousarray(view[0].permute(1, 2, 0).numpy())


def flip(image: np.ndarray) -> np.ndarray:
    """Flip from left to right."""
    return cv2.flip(image, 1)


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply by a factor of at least 0."""
    return cv2.convertScaleAbs(image, alpha=factor)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Scale the distance from the image's mean grey, which is rounded as in torchvision."""
    mean = int(np.dot(cv2.mean(image)[:3], BGR_LUMA) + 0.5)
    # convertScaleAbs would take the absolute value of negative results; a weighted sum clips them.
    return cv2.addWeighted(image, factor, image, 0.0, mean * (1.0 - factor))


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Scale the distance of every pixel from its own grey."""
    return cv2.addWeighted(image, factor, greyscale(image), 1.0 - factor, 0.0)


def hue(image: np.ndarray, shift: float) -> np.ndarray:
    """Rotate the hue by a share of the full circle, -0.5 to 0.5, in HSV with 8 bits each, as Pillow."""
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL)
    row = np.zeros((image.shape[1], 3), np.uint8)
    row[:, 0] = round(shift * 256) % 256  # the circle has 256 steps: uint8 wraps around
    hsv += row  # three times as fast as to the one channel
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)


def greyscale(image: np.ndarray) -> np.ndarray:
    """Replace each channel by the luma of ITU-R BT.601."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur with a standard deviation in pixels; the edge is replicated."""
    kernel = cv2.getGaussianKernel(round(6 * sigma + 1) | 1, sigma)
    # GaussianBlur has the same kernel, and is two to three times slower.
    return cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


def solarize(image: np.ndarray, threshold: float) -> np.ndarray:
    """Invert values from the threshold up."""
    values = np.arange(256, dtype=np.uint8)
    return cv2.LUT(image, np.where(values < threshold, values, 255 - values))


def planes_first(image: np.ndarray) -> np.ndarray:
    """Lay an array out in memory plane by plane: ``PackInputs`` then makes (3, H, W) without a copy."""
    planes = np.empty((3, *image.shape[:2]), np.uint8)
    cv2.split(image, list(planes))
    return planes.transpose(1, 2, 0)
