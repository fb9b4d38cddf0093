"""A plain ViT for large images: attention inside windows in most blocks (ViTDet, arXiv 2203.16527, Sec. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmpretrain.models import VisionTransformer
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor

from repre_mm.registry import MODELS


@MODELS.register_module()
class WindowedViT(VisionTransformer):
    """mmpretrain's VisionTransformer with attention inside windows; gives one map, keeps the parameters' names.

    ViTDet's relative positions are left out: pre-trained weights have none.

    Args:
        window_size: Side of a window in patches.
        global_blocks: Zero-based indices of the blocks that attend over the whole image instead; ViTDet spreads
            four of them evenly.
        **kwargs: Of mmpretrain's VisionTransformer (``arch``, ``img_size``, ``patch_size``, ``drop_path_rate``, ...).

    Raises:
        ValueError: A global block does not exist, or the window is empty.
    """

    def __init__(self, window_size: int = 14, global_blocks: Sequence[int] = (2, 5, 8, 11), **kwargs) -> None:
        super().__init__(out_type='featmap', with_cls_token=True, **kwargs)
        if window_size < 1:
            raise ValueError(f'window_size must be at least 1 patch, got {window_size}')
        unknown = [index for index in global_blocks if not 0 <= index < self.num_layers]
        if unknown:
            raise ValueError(f'global_blocks={list(global_blocks)}: the encoder has blocks 0 to {self.num_layers - 1}')
        self.window_size = window_size
        self.global_blocks = frozenset(global_blocks)
        # Not used in the map of patches, but checkpoints have one.
        self.cls_token.requires_grad = False

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """(B, 3, H, W) -> a tuple with the map (B, C, H/P, W/P) after the last block."""
        tokens, grid = self.patch_embed(x)
        position = resize_pos_embed(self.pos_embed, self.patch_resolution, grid, self.interpolate_mode, 1)
        tokens = self.pre_norm(self.drop_after_pos(tokens + position[:, 1:]))
        for index, block in enumerate(self.layers):
            normed = block.ln1(tokens)
            if index in self.global_blocks:
                attended = block.attn(normed)
            else:
                windows, padded = to_windows(normed, grid, self.window_size)
                attended = from_windows(block.attn(windows), grid, padded, self.window_size)
            tokens = tokens + attended
            tokens = block.ffn(block.ln2(tokens), identity=tokens)
        if self.final_norm:
            tokens = self.ln1(tokens)
        # (B, hw, C) -> (B, C, h, w)
        return (tokens.transpose(1, 2).unflatten(2, grid).contiguous(),)


def to_windows(tokens: Tensor, grid: tuple[int, int], size: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut a map into windows, with zeros at its right and lower edges where it is no multiple of the window.

    Args:
        tokens: (B, h * w, C).
        grid: (h, w).
        size: Side s of a window.

    Returns:
        The windows (B * n, s * s, C), and the padded map's height and width.
    """
    h, w = grid
    x = F.pad(tokens.unflatten(1, grid), (0, 0, 0, -w % size, 0, -h % size))
    B, padded_h, padded_w, C = x.shape
    # (B, h, w, C) -> (B, h/s, s, w/s, s, C) -> (B * n, s * s, C)
    x = x.view(B, padded_h // size, size, padded_w // size, size, C).transpose(2, 3)
    return x.reshape(-1, size * size, C), (padded_h, padded_w)


def from_windows(windows: Tensor, grid: tuple[int, int], padded: tuple[int, int], size: int) -> Tensor:
    """Undo :func:`to_windows`: (B * n, s * s, C) -> (B, h * w, C)."""
    rows, columns = padded[0] // size, padded[1] // size
    x = windows.view(-1, rows, columns, size, size, windows.shape[-1]).transpose(2, 3)
    # (B, h/s, s, w/s, s, C) -> (B, padded h, padded w, C) -> (B, h * w, C)
    x = x.reshape(-1, *padded, windows.shape[-1])
    return x[:, : grid[0], : grid[1]].flatten(1, 2)
