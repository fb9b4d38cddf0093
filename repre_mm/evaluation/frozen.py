"""Hold a frozen encoder with what its images need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FrozenEncoder:
    """An encoder with what its images need.

    Attributes:
        module: The encoder, on its device; functions that use it put it in evaluation mode meanwhile.
        mean: Per channel, in units of [0, 255], RGB.
        std: Likewise.
        image_size: Side of its square crops, in pixels.
        model: The config's file name, or ``'timm:NAME'``.
        weights: The file's name, or ``'random'``.
        network: Which network of the file it is and why, for people.
        data_root: The data of its config.
    """

    module: nn.Module
    mean: Sequence[float]
    std: Sequence[float]
    image_size: int
    model: str = ''
    weights: str = ''
    network: str = ''
    data_root: str | None = None

    @property
    def device(self) -> torch.device:
        """Where the encoder is."""
        return next(self.module.parameters()).device

    def normalised(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 255] -> the same, float32, normalised as in training, on the encoder's device."""
        device = self.device
        mean, std = (torch.tensor(v, dtype=torch.float32, device=device).view(-1, 1, 1) for v in (self.mean, self.std))
        return (images.to(device, non_blocking=True).float() - mean) / std
