"""RePreNeck: K levels of one encoder forward, brought to one layout and (by default) one width.

GatedRePreNeck learns which levels instead of fixing them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import get_rank, get_world_size
from mmengine.model import BaseModule
from torch import Tensor, nn

from repre_mm.registry import MODELS


def sample_levels(depth: int, num_levels: int) -> list[int]:
    """Indices of K evenly spaced levels, the last one always among them (RePre, Sec. 3.2).

    ``floor(L / K) * k - 1`` for k = 1 .. K - 1, and L - 1 (zero-based); L = 12, K = 4 gives 2, 5, 8, 11.

    Args:
        depth: L, the number of blocks (ViT) or stages (Swin).
        num_levels: K.

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
        in_channels: Channels of every level that the encoder offers, shallow to deep (L values). Inferred from
            the backbone by :class:`RePreAlgorithm`.
        num_levels: K, sampled by :func:`sample_levels`. Ignored when ``indices`` is given.
        indices: Explicit levels, ascending and zero-based; negative ones count from the end.
        features: ``'multi'`` for K levels, ``'single'`` for the last level alone (the paper's Table 4).
        out_channels: D, the width after a 1x1 convolution per level; ``None`` keeps the encoder's own widths
            (the paper's full-width decoder, which costs several times more).
        mask_ratio: Share of cells, in training, that a learned token replaces in all maps alike (not in the paper;
            0 leaves it out). See :class:`CellMask`.

    Attributes:
        indices: The chosen levels, ascending.
        out_channels: Channels of each returned map.

    Raises:
        ValueError: An index, K or ``mask_ratio`` does not fit, or ``features`` is unknown.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_levels: int = 4,
        indices: Sequence[int] | None = None,
        features: str = 'multi',
        out_channels: int | None = 128,
        mask_ratio: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not 0 <= mask_ratio < 1:
            raise ValueError(f'mask_ratio={mask_ratio} must be at least 0 and below 1')
        depth = len(in_channels)
        if features not in ('multi', 'single'):
            raise ValueError(f"features={features!r} is unknown: use 'multi' or 'single'")
        if features == 'single':
            self.indices = [depth - 1]
        elif indices is None:
            self.indices = sample_levels(depth, num_levels)
        else:
            self.indices = _checked_indices(indices, depth)
        widths = [in_channels[i] for i in self.indices]
        self.out_channels = widths if out_channels is None else [out_channels] * len(widths)
        self.projections = nn.ModuleList(
            nn.Identity() if out_channels is None else nn.Conv2d(width, out_channels, kernel_size=1) for width in widths
        )
        self.mask = CellMask(self.out_channels, mask_ratio) if mask_ratio else None

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Project the chosen levels.

        Args:
            levels: K maps (B, C_k, h_k, w_k), shallow to deep: the levels named by ``indices``.

        Returns:
            K maps (B, D, h_k, w_k).
        """
        if len(levels) != len(self.projections):
            raise ValueError(f'RePreNeck expects {len(self.projections)} levels, got {len(levels)}')
        maps = [project(level) for project, level in zip(self.projections, levels, strict=True)]
        return self.mask(maps) if self.mask is not None and self.training else maps


@MODELS.register_module()
class GatedRePreNeck(RePreNeck):
    """K learned mixtures of all levels instead of K fixed levels (not in the paper).

    Each of the K maps is a weighted mean of all L levels, with weights from a softmax that is learned with the rest. At
    the start the level that :func:`sample_levels` would take weighs most. The gate must not be decayed, since decay
    pulls it back to equal weights: ``paramwise_cfg=dict(custom_keys={'repre_neck.gate': dict(decay_mult=0.0)})``.

    For encoders whose levels have one width and one resolution (ViT); a pyramid's levels cannot be averaged.

    Args:
        in_channels: As for :class:`RePreNeck`; all equal.
        num_levels: K, the number of mixtures.
        out_channels: As for :class:`RePreNeck`.
        mask_ratio: As for :class:`RePreNeck`.

    Attributes:
        gate: Logits, (K, L).
        indices: All levels.

    Raises:
        ValueError: The levels differ in width, or K does not fit the depth.
    """

    #: Of the sampled level's logit over the others': two thirds of the weight among 12 levels.
    HEAD_START = 3.0

    def __init__(
        self,
        in_channels: Sequence[int],
        num_levels: int = 4,
        out_channels: int | None = 128,
        mask_ratio: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        if len(set(in_channels)) > 1:
            raise ValueError(
                f'GatedRePreNeck averages levels, so they must be of one width and resolution, as those of a ViT; this '
                f'encoder has widths {list(in_channels)}: use RePreNeck'
            )
        super().__init__(in_channels, num_levels, out_channels=out_channels, mask_ratio=mask_ratio, init_cfg=init_cfg)
        start = self.HEAD_START * F.one_hot(torch.tensor(self.indices), len(in_channels)).float()
        self.gate = nn.Parameter(start)
        self.indices = list(range(len(in_channels)))

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Mix all levels into K, then project them.

        Args:
            levels: L maps (B, C, h, w), shallow to deep.

        Returns:
            K maps (B, D, h, w).

        Raises:
            ValueError: There are not L levels, or they differ in shape.
        """
        shapes = {tuple(level.shape) for level in levels}
        if len(levels) != self.gate.shape[1] or len(shapes) > 1:
            raise ValueError(f'GatedRePreNeck expects {self.gate.shape[1]} levels of one shape, got {sorted(shapes)}')
        weights = self.gate.softmax(dim=1).to(levels[0].dtype)
        # (K, L) x (L, B, C, h, w) -> (K, B, C, h, w)
        return super().forward(torch.tensordot(weights, torch.stack(list(levels)), dims=1).unbind())


class CellMask(nn.Module):
    """Replace random cells of the decoder's maps by a learned token per level.

    The encoder sees the whole of view 1, since RePre costs no pass of its own and the contrastive loss is not to
    change; so it is the tapped maps that are masked, the same part of the image in all of them. A masked patch then has
    to be drawn from its neighbours and from what attention has carried there. The loss stays that over all pixels.

    Which cells is drawn from a counter in the state dict, so the algorithm's random stream is not touched, processes
    draw different masks, and a resumed training draws as if it had not stopped.

    Args:
        channels: Of the maps, shallow to deep.
        ratio: Share of cells to replace, of the deepest map; rounded to whole cells.
    """

    def __init__(self, channels: Sequence[int], ratio: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.tokens = nn.ParameterList(nn.Parameter(torch.zeros(width)) for width in channels)
        self.register_buffer('steps', torch.zeros((), dtype=torch.int64))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """K maps (B, C_k, h_k, w_k), shallow to deep -> the same with cells replaced."""
        batch, _, height, width = maps[-1].shape
        mask = self._draw(batch, height, width).to(maps[-1].device)
        masked = []
        for token, values in zip(self.tokens, maps, strict=True):
            # One decision for all cells of a shallower map that lie in the same cell of the deepest.
            cells = F.interpolate(mask, size=values.shape[-2:], mode='nearest') > 0
            masked.append(torch.where(cells, token.to(values.dtype).view(1, -1, 1, 1), values))
        return masked

    def _draw(self, batch: int, height: int, width: int) -> Tensor:
        """(B, 1, h, w), 1 where a cell is replaced: the same number in every image."""
        seed = self.steps.item() * get_world_size() + get_rank()
        self.steps += 1
        noise = torch.rand(batch, height * width, generator=torch.Generator().manual_seed(seed))
        chosen = noise.argsort(dim=1)[:, : round(self.ratio * height * width)]
        return torch.zeros(batch, height * width).scatter_(1, chosen, 1.0).view(batch, 1, height, width)


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
