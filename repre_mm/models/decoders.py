"""RePreDecoder: fuse K maps from deep to shallow and predict the pixels (RePre, Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.models.backbones.swin_transformer import SwinBlock
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from torch import Tensor, nn

from repre_mm.registry import MODELS


def conv_fusion(in_channels: int, out_channels: int, num_layers: int) -> nn.Sequential:
    """``num_layers`` fusion layers, each a 3x3 convolution and a ReLU; the first narrows the concatenation."""
    layers: list[nn.Module] = []
    for _ in range(num_layers):
        layers += [nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
        in_channels = out_channels
    return nn.Sequential(*layers)


class TransformerFusion(nn.Module):
    """``num_layers`` transformer layers in place of the convolutions (RePre, Table 5).

    The layers are the encoders' own: those of a ViT, or of a Swin where ``window_size`` is given, in cells (there are
    too many for global attention). A linear map narrows the concatenation first, as the first convolution does.
    """

    def __init__(self, in_channels: int, out_channels: int, num_layers: int, window_size: int | None) -> None:
        super().__init__()
        heads = max(out_channels // 32, 1)
        if out_channels % heads:
            raise ValueError(f"fusion='transformer' has heads of 32 channels: {out_channels} is not a multiple of 32")
        self.windowed = window_size is not None
        self.narrow = nn.Linear(in_channels, out_channels)
        self.layers = nn.ModuleList(
            SwinBlock(out_channels, heads, window_size, shift=i % 2 == 1, pad_small_map=True)
            if self.windowed
            else TransformerEncoderLayer(out_channels, heads, feedforward_channels=4 * out_channels)
            for i in range(num_layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2D, h, w) -> (B, D, h, w)."""
        height, width = x.shape[-2:]
        tokens = self.narrow(x.flatten(2).transpose(1, 2))  # (B, 2D, h, w) -> (B, h*w, D)
        for layer in self.layers:
            tokens = layer(tokens, (height, width)) if self.windowed else layer(tokens)
        return tokens.transpose(1, 2).reshape(x.shape[0], -1, height, width)


@MODELS.register_module()
class RePreDecoder(BaseModule):
    """Fuse K levels in the shape of a U-Net, then map each cell linearly to its patch of pixels.

    From the deepest level on, the result so far is resized bilinearly to the next shallower level, concatenated with it
    and fused. With K = 1 only the head remains.

    **Width.** The paper (Sec. 3.3) concatenates levels of the encoder's full width, to 2C channels, and says that its
    branch adds 4 % to the training. By our count these contradict each other: at full width it adds 20 % to the
    multiply-adds with ViT-S and 26 % with Swin-T. The default keeps to the cost, with levels narrowed to 128 (ViT) or
    64 (pyramid) channels; ``neck.out_channels=None`` and the ``*_fullwidth_*`` configs keep to the text.

    Args:
        in_channels: Channels of the K maps, shallow to deep. Inferred by :class:`RePreAlgorithm`.
        patch_size: Pixels per cell of the shallowest map, one number or (vertical, horizontal). Inferred too.
        num_fusion_layers: Fusion layers per level; the paper compares 1, 2 and 4.
        fusion: ``'conv'`` (3x3 convolution + ReLU) or ``'transformer'``.
        window_size: Side of the windows of ``'transformer'``, in cells; None means global attention.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        patch_size: int | tuple[int, int],
        num_fusion_layers: int = 2,
        fusion: str = 'conv',
        window_size: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if fusion not in ('conv', 'transformer'):
            raise ValueError(f"fusion={fusion!r} is unknown: use 'conv' or 'transformer'")
        if num_fusion_layers < 1:
            raise ValueError(f'num_fusion_layers={num_fusion_layers} must be at least 1')
        self.patch_size = (patch_size, patch_size) if isinstance(patch_size, int) else tuple(patch_size)
        self.fusions = nn.ModuleList()  # from deep to shallow
        below = in_channels[-1]
        for channels in reversed(in_channels[:-1]):
            if fusion == 'conv':
                block: nn.Module = conv_fusion(below + channels, channels, num_fusion_layers)
            else:
                block = TransformerFusion(below + channels, channels, num_fusion_layers, window_size)
            self.fusions.append(block)
            below = channels
        self.head = nn.Conv2d(below, 3 * self.patch_size[0] * self.patch_size[1], kernel_size=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Decode K maps (B, C_k, h_k, w_k), shallow to deep, to pixels (B, 3, h_1 * P, w_1 * P), not clamped."""
        x = maps[-1]
        for fuse, shallow in zip(self.fusions, reversed(maps[:-1]), strict=True):
            if x.shape[-2:] != shallow.shape[-2:]:
                x = F.interpolate(x, size=shallow.shape[-2:], mode='bilinear', align_corners=False)
            x = fuse(torch.cat([x, shallow], dim=1))  # (B, C_deep + C, h, w) -> (B, C, h, w)
        return self._shuffle(self.head(x))

    def loss(self, maps: Sequence[Tensor], target: Tensor) -> Tensor:
        """Mean absolute error over all pixels (RePre, Eq. 3), in fp32.

        Args:
            maps: As for :meth:`forward`.
            target: (B, 3, h_1 * P, w_1 * P), view 1 before normalisation, in [0, 1].
        """
        return F.l1_loss(self(maps).float(), target.float())

    def _shuffle(self, x: Tensor) -> Tensor:
        # nn.PixelShuffle for patches that need not be square:
        # (B, 3 * Ph * Pw, h, w) -> (B, 3, Ph, Pw, h, w) -> (B, 3, h, Ph, w, Pw) -> (B, 3, h * Ph, w * Pw)
        batch, _, height, width = x.shape
        rows, columns = self.patch_size
        x = x.view(batch, 3, rows, columns, height, width).permute(0, 1, 4, 2, 5, 3)
        return x.reshape(batch, 3, height * rows, width * columns)
