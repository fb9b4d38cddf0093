"""Colour, blur and solarize kernels for a batch on any device, each image with its own strength.

Every function takes float (N, 3, H, W) in [0, 1], RGB, and numbers (N,), and returns new images in [0, 1], equal image
by image to those of torchvision's functions of these names. Nothing waits for the device.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply by factors of at least 0."""
    return (images * _each(factors)).clamp_(0, 1)


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Spread around the mean grey of each image."""
    return _spread(images, luma(images).mean((-2, -1), keepdim=True), factors)


def saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Spread every pixel around its own grey."""
    return _spread(images, luma(images), factors)


def greyscale(images: Tensor, _: Tensor) -> Tensor:
    """Repeat the luma three times; the numbers are not used."""
    return luma(images).expand_as(images)


def hue(images: Tensor, shifts: Tensor) -> Tensor:
    """Shift the hue of HSV by shares of the full circle, -0.5 to 0.5."""
    red, green, blue = images.unbind(1)
    value, chroma = images.amax(1), images.amax(1) - images.amin(1)
    safe = chroma.clamp(min=1e-12)  # grey has no hue
    angle = torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    angle = torch.where(value == red, (green - blue) / safe, angle)  # in sixths of the circle
    angle = angle + 6 * shifts[:, None, None]
    # Back to RGB: a channel is value - chroma * clamp(2 - d, 0, 1), d the distance from its opposite on the circle.
    distance = torch.stack([angle - opposite for opposite in (3, 5, 1)], 1)
    distance = distance.sub_((distance / 6).round_(), alpha=6).abs_()
    return value[:, None] - chroma[:, None] * distance.neg_().add_(2).clamp_(0, 1)


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Invert values that are not below the threshold, 0 to 1."""
    return torch.where(images >= _each(thresholds), 1 - images, images)


def gaussian_blur(images: Tensor, sigmas: Tensor, radius: int) -> Tensor:
    """Blur with standard deviations in pixels, over ``radius`` pixels to each side; edge pixels are repeated."""
    taps = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-0.5 * (taps / sigmas[:, None]) ** 2)
    weights = weights / weights.sum(1, keepdim=True)  # (N, taps)
    weights = weights.repeat_interleave(images.shape[1], 0)[:, None]  # (N * 3, 1, taps)
    # One image of N * 3 channels, each with a filter of its own: (N, 3, H, W) -> (1, N * 3, H, W)
    padded = F.pad(images.flatten(0, 1)[None], [radius] * 4, mode='replicate')
    across = F.conv2d(padded, weights[..., None, :], groups=len(weights))
    return F.conv2d(across, weights[..., None], groups=len(weights)).view_as(images)


def luma(images: Tensor) -> Tensor:
    """Compute the luma of ITU-R BT.601: (N, 3, H, W) -> (N, 1, H, W)."""
    red, green, blue = images.split(1, 1)
    return (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def _spread(images: Tensor, around: Tensor, factors: Tensor) -> Tensor:
    factors = _each(factors)
    return (images * factors + around * (1 - factors)).clamp_(0, 1)


def _each(numbers: Tensor) -> Tensor:
    """(N,) -> (N, 1, 1, 1)."""
    return numbers[:, None, None, None]
