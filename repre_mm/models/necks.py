"""RePreNeck: choose K levels of one encoder forward and project them to the decoder's width."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from repre_mm.registry import MODELS


def sample_levels(depth: int, num_levels: int) -> list[int]:
    """Sample K of L levels (blocks of a ViT, stages of a Swin) evenly, the last one among them (RePre, Sec. 3.2).

    ``floor(L / K) * k - 1`` for k = 1 .. K - 1, and L - 1 (zero-based); L = 12, K = 4 gives 2, 5, 8, 11.

    Raises:
        ValueError: K is below 1 or larger than L.
    """
    if not 1 <= num_levels <= depth:
        raise ValueError(
            f'num_levels={num_levels} levels cannot be sampled from an encoder of depth {depth}: choose 1 to {depth}'
        )
    step = depth // num_levels
    return [step * k - 1 for k in range(1, num_levels)] + [depth - 1]


@MODELS.register_module()
class RePreNeck(BaseModule):
    """Choose K levels of the online encoder and project each to the decoder's width (RePre, Sec. 3.2).

    Args:
        in_channels: Channels of each of the encoder's L levels, shallow to deep. Inferred by :class:`RePreAlgorithm`.
        num_levels: K, for :func:`sample_levels`.
        indices: The levels themselves instead, ascending and zero-based; negative ones count from the end.
        features: ``'multi'`` for the K levels, ``'single'`` for the last level in the place of each of them: the
            decoder keeps its layers, resolutions and widths, and only its input changes (Sec. 4.3.1, Table 4). To
            decode the last level with the 1x1 head alone, set ``num_levels=1`` instead.
        out_channels: D, the width after a 1x1 convolution per level; ``None`` keeps the encoder's own widths
            (the paper's full-width decoder, see :class:`RePreDecoder`).

    Attributes:
        indices: The chosen levels, ascending.
        out_channels: Channels of each returned map.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_levels: int = 4,
        indices: Sequence[int] | None = None,
        features: str = 'multi',
        out_channels: int | None = 128,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if features not in ('multi', 'single'):
            raise ValueError(f"features={features!r} is unknown: use 'multi' or 'single'")
        self.single = features == 'single'
        depth = len(in_channels)
        self.indices = sample_levels(depth, num_levels) if indices is None else _checked_indices(indices, depth)
        widths = [in_channels[i] for i in self.indices]
        sources = [widths[-1]] * len(widths) if self.single else widths
        self.out_channels = widths if out_channels is None else [out_channels] * len(widths)
        self.projections = nn.ModuleList(
            nn.Identity() if out_channels is None and source == width else nn.Conv2d(source, width, kernel_size=1)
            for source, width in zip(sources, self.out_channels, strict=True)
        )

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Project the chosen levels: K maps (B, C_k, h_k, w_k), shallow to deep -> K maps (B, D, h_k, w_k)."""
        if not self.single:
            return [project(level) for project, level in zip(self.projections, levels, strict=True)]
        maps = [project(levels[-1]) for project in self.projections]
        return [
            # (B, D, h_K, w_K) -> (B, D, h_k, w_k)
            F.interpolate(image, level.shape[-2:], mode='bilinear', align_corners=False)
            for image, level in zip(maps, levels, strict=True)
        ]


def _checked_indices(indices: Sequence[int], depth: int) -> list[int]:
    wrong = [i for i in indices if not -depth <= i < depth]
    if wrong or not indices:
        raise ValueError(
            f'indices={list(indices)} do not fit an encoder of depth {depth}: '
            f'use values from 0 to {depth - 1} (or -{depth} to -1)'
        )
    positive = [i % depth for i in indices]
    if positive != sorted(set(positive)):
        raise ValueError(f'indices={list(indices)} must ascend from shallow to deep without repetition')
    return positive
