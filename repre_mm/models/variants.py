"""Variants beyond the paper: a learned mixture of levels, masked cells, dynamic weight averaging."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.model import BaseModule
from torch import Tensor, nn

from repre_mm.models.losses import Weights
from repre_mm.models.necks import RePreNeck
from repre_mm.registry import MODELS


@MODELS.register_module()
class GatedRePreNeck(RePreNeck):
    """Mix all L levels into each of K maps, with learned weights; for encoders of one width and resolution (ViT).

    The weights are a softmax of ``gate``, (K, L). At the start the level that :func:`sample_levels` would take weighs
    most. The gate must not be decayed, which would pull it back to equal weights:
    ``paramwise_cfg=dict(custom_keys={'repre_neck.gate': dict(decay_mult=0.0)})``.

    Raises:
        ValueError: The levels differ in width, or K does not fit the depth.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_levels: int = 4,
        out_channels: int | None = 128,
        init_cfg: dict | None = None,
    ) -> None:
        if len(set(in_channels)) > 1:
            raise ValueError(
                f'GatedRePreNeck averages levels, so they must be of one width and resolution, as those of a ViT; this '
                f'encoder has widths {list(in_channels)}: use RePreNeck'
            )
        super().__init__(in_channels, num_levels, out_channels=out_channels, init_cfg=init_cfg)
        # Two thirds of the weight among 12 levels.
        self.gate = nn.Parameter(3.0 * F.one_hot(torch.tensor(self.indices), len(in_channels)).float())
        self.indices = list(range(len(in_channels)))

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Mix and project L maps (B, C, h, w), shallow to deep, to K maps (B, D, h, w)."""
        weights = self.gate.softmax(dim=1).to(levels[0].dtype)
        # (K, L) x (L, B, C, h, w) -> (K, B, C, h, w)
        return super().forward(torch.tensordot(weights, torch.stack(list(levels)), dims=1).unbind())


@MODELS.register_module()
class MaskedRePreNeck(RePreNeck):
    """RePreNeck that masks a share ``mask_ratio`` of the cells of its maps in training, see :class:`CellMask`."""

    def __init__(self, in_channels: Sequence[int], mask_ratio: float = 0.5, **kwargs) -> None:
        super().__init__(in_channels, **kwargs)
        if not 0 <= mask_ratio < 1:
            raise ValueError(f'mask_ratio={mask_ratio} must be at least 0 and below 1')
        self.mask = CellMask(self.out_channels, mask_ratio)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Project the chosen levels, and mask them in training."""
        maps = super().forward(levels)
        return self.mask(maps) if self.training else maps


class CellMask(nn.Module):
    """Replace random cells of the decoder's maps by a learned token per level.

    The encoder sees the whole of view 1, so the contrastive loss stays as it is. The same part of the image is masked
    in all maps, so a masked patch has to be predicted from its neighbours; the loss is the mean over all pixels.

    The masks are drawn from a counter in the state dict: the algorithm's random stream is not touched, processes draw
    different masks, and a resumed run continues the sequence.

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


@MODELS.register_module()
class DynamicWeightAveraging(BaseModule):
    r"""Dynamic weight averaging (Liu et al., CVPR 2019, Sec. 3.3): more weight for the loss that falls more slowly.

    .. math:: \lambda_k(t) = 2 \, softmax_k(\frac{1}{T} \frac{L_k(t - 1)}{L_k(t - 2)})

    where L_k(t) is the mean of loss k over period t. Both weights are 1 in the first two periods. A resumed run
    continues its period.

    Args:
        interval: Training batches in a period; that paper's is an epoch.
        temperature: T; large values make the weights equal.

    Raises:
        ValueError: ``interval`` or ``temperature`` is not positive; or a loss is negative, so that ratios have no
            meaning.
    """

    def __init__(self, interval: int, temperature: float = 2.0, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if interval < 1 or temperature <= 0:
            raise ValueError(f'interval={interval} and temperature={temperature} must be positive')
        self.interval = interval
        self.temperature = temperature
        self.register_buffer('weights', torch.ones(2))  # of contrast and recon
        self.register_buffer('sums', torch.zeros(2))  # over the period under way
        self.register_buffer('steps', torch.zeros((), dtype=torch.int64))  # in the period under way
        self.register_buffer('means', torch.zeros(2, 2))  # of the last two periods, the older one first; 0: none yet

    def forward(self, contrast: Tensor, recon: Tensor) -> tuple[Tensor, Weights]:
        """Join two scalar losses; also returns the weights of both."""
        losses = torch.stack([contrast.float(), recon.float()])
        if (losses.detach() < 0).any():
            raise ValueError(
                f'the losses are {contrast.item():.4f} and {recon.item():.4f}: dynamic weight averaging compares '
                'ratios of losses, which must not be negative. Use loss_weighting=dict(type='
                '"repre_mm.UncertaintyWeighting", contrast_shift=...) or type="repre_mm.FixedWeighting"'
            )
        weights = self.weights.clone()
        if self.training:
            self._note(losses.detach())
        return (weights * losses).sum(), {'weight_contrast': weights[0], 'weight_recon': weights[1]}

    @torch.no_grad()
    def _note(self, losses: Tensor) -> None:
        self.sums += losses
        self.steps += 1
        if self.steps.item() < self.interval:
            return
        mean = self.sums / self.steps
        all_reduce(mean, op='mean')  # one set of weights in all processes
        self.means.copy_(torch.stack([self.means[1], mean]))
        self.sums.zero_()
        self.steps.zero_()
        if (self.means > 0).all():
            ratio = self.means[1] / self.means[0]
            self.weights.copy_(2 * torch.softmax(ratio / self.temperature, dim=0))
