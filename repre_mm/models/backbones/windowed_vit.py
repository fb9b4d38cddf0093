"""Plain ViT for large images: attention inside windows in most blocks (ViTDet, arXiv 2203.16527, Sec. 3)."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.models import VisionTransformer
from mmpretrain.models.backbones.vit_sam import window_partition, window_unpartition
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor, nn

from repre_mm.registry import MODELS


@MODELS.register_module()
class WindowedViT(VisionTransformer):
    """mmpretrain's VisionTransformer with attention inside windows; gives one map, keeps the parameters' names.

    ViTDet's relative positions are left out: pre-trained weights have none.

    Args:
        window_size: Side of a window in patches.
        global_blocks: Zero-based indices of the blocks that attend over the whole image; ViTDet spreads four evenly.
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
        # Not used, but checkpoints have one.
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
                attended = self._attend_in_windows(block.attn, normed, grid)
            tokens = tokens + attended
            tokens = block.ffn(block.ln2(tokens), identity=tokens)
        if self.final_norm:
            tokens = self.ln1(tokens)
        # (B, hw, C) -> (B, C, h, w)
        return (tokens.transpose(1, 2).unflatten(2, grid).contiguous(),)

    def _attend_in_windows(self, attention: nn.Module, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, h * w, C) -> the same; a map that is no multiple of the window is padded with zeros."""
        # (B, h, w, C) -> (B * n, s, s, C), n windows of side s
        windows, padded = window_partition(tokens.unflatten(1, grid), self.window_size)
        attended = attention(windows.flatten(1, 2)).view_as(windows)
        return window_unpartition(attended, self.window_size, padded, grid).flatten(1, 2)
