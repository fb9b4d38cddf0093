"""Feature pyramid from one map (ViTDet, arXiv 2203.16527, Sec. 3)."""

from __future__ import annotations

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.models.utils import LayerNorm2d
from torch import Tensor, nn

from repre_mm.registry import MODELS


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Four levels from the last map of a plain encoder, at 4, 2, 1 and 1/2 times its resolution, plus coarser ones.

    From a map at stride 16 they have the strides 4, 8, 16, 32 that heads made for an FPN expect.

    Args:
        in_channels: C of the encoder's map; a multiple of 4.
        out_channels: Channels of every level.
        num_outs: Levels altogether, at least 4; each further one halves the one before by max pooling.
    """

    def __init__(self, in_channels: int, out_channels: int = 256, num_outs: int = 5, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.num_outs = num_outs
        half, quarter = in_channels // 2, in_channels // 4
        quadruple = nn.Sequential(
            nn.ConvTranspose2d(in_channels, half, 2, 2),
            LayerNorm2d(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, 2),
        )
        scales = [
            (quadruple, quarter),
            (nn.ConvTranspose2d(in_channels, half, 2, 2), half),
            (nn.Identity(), in_channels),
            (nn.MaxPool2d(2), in_channels),
        ]
        self.levels = nn.ModuleList(
            nn.Sequential(
                scale,
                nn.Conv2d(channels, out_channels, 1, bias=False),
                LayerNorm2d(out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                LayerNorm2d(out_channels),
            )
            for scale, channels in scales
        )

    def forward(self, maps: tuple[Tensor]) -> tuple[Tensor, ...]:
        """A tuple with (B, C, h, w) -> (B, out, 4h, 4w), (B, out, 2h, 2w), (B, out, h, w), (B, out, h/2, w/2), ..."""
        levels = [level(maps[0]) for level in self.levels]
        while len(levels) < self.num_outs:
            levels.append(F.max_pool2d(levels[-1], 1, stride=2))
        return tuple(levels)
