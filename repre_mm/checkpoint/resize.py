"""Resize position embeddings and tables of relative positions to another grid or window."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repre_mm.checkpoint.layouts import Layout, State
from repre_mm.checkpoint.reading import CheckpointError

Grid = tuple[int, int]

# Tokens that may have positions of their own, which stand before those of the patches.
_TOKENS = ('cls_token', 'dist_token', 'reg_token')


def resize(
    cells: Tensor, source: Sequence[int], target: Sequence[int], mode: str = 'bicubic', antialias: bool = False
) -> Tensor:
    """Interpolate values on a grid, corners not aligned: (h * w, C) -> (h' * w', C).

    Args:
        cells: One row per cell.
        source: (h, w).
        target: (h', w').
        mode: ``'bicubic'`` or ``'bilinear'``.
        antialias: As in timm.
    """
    maps = cells.T.unflatten(1, source)[None].float()  # (h * w, C) -> (1, C, h, w)
    maps = F.interpolate(maps, size=tuple(target), mode=mode, antialias=antialias, align_corners=False)
    return maps[0].flatten(1).T.to(cells.dtype)


def fit_positions(state: State, encoder: nn.Module, layout: Layout) -> State:
    """Resize the positions of a state dict, of a square grid, that have another size in the encoder.

    Tables of relative positions are interpolated as in SimMIM (arXiv 2111.09886).

    Args:
        state: In the encoder's own names.
        encoder: Gives the target grid and windows.
        layout: Of the encoder: timm interpolates with antialiasing.

    Returns:
        Name -> resized tensor, of the encoder's shape; without those of another width or with fewer tokens.

    Raises:
        CheckpointError: A position embedding must be resized, and its grid is not square.
    """
    resized: State = {}
    for name, ours in encoder.state_dict().items():
        theirs = state.get(name, ours)
        if theirs.shape == ours.shape or theirs.ndim != ours.ndim or theirs.shape[-1] != ours.shape[-1]:
            continue
        owner = encoder.get_submodule(name.rpartition('.')[0])
        if name.endswith('relative_position_bias_table'):  # ((2h - 1) * (2w - 1), heads)
            side = math.isqrt(len(theirs))
            if side**2 == len(theirs):
                resized[name] = resize(theirs, (side, side), [2 * window - 1 for window in owner.window_size])
        elif name.endswith('pos_embed'):  # (1, tokens + h * w, C)
            grid, side = _patch_grid(owner, ours.shape[1]), _square_side(state, name)
            keep, tokens = ours.shape[1] - grid[0] * grid[1], theirs.shape[1] - side**2
            if tokens >= keep:
                mode = getattr(owner, 'interpolate_mode', 'bicubic')
                patches = resize(theirs[0, tokens:], (side, side), grid, mode, antialias=layout.library == 'timm')
                resized[name] = torch.cat([theirs[0, :keep], patches])[None]
    return resized


def _square_side(state: State, name: str) -> int:
    """The side of the square grid that remains of a position embedding after its tokens."""
    length, width = state[name].shape[1:]
    tokens = sum(value.numel() // width for key, value in state.items() if key.endswith(_TOKENS))
    # Some models give no position to their register tokens, or to none of their tokens.
    for cells in range(max(length - tokens, 1), length + 1):
        if math.isqrt(cells) ** 2 == cells:
            return math.isqrt(cells)
    raise CheckpointError(f'{name} has {length} positions, which are no square grid of patches to resize')


def _patch_grid(owner: nn.Module, length: int) -> Grid:
    """The grid of an encoder's position embedding, from the attribute in which its library keeps it."""
    patches = getattr(owner, 'patch_embed', None)
    for grid in (getattr(owner, 'patch_resolution', None), getattr(patches, 'grid_size', None)):  # mmpretrain, timm
        if grid is not None:
            return int(grid[0]), int(grid[1])
    if isinstance(getattr(owner, 'img_size', None), Sequence) and isinstance(getattr(owner, 'patch_size', None), int):
        return owner.img_size[0] // owner.patch_size, owner.img_size[1] // owner.patch_size  # mmseg
    side = math.isqrt(length)  # L = side ** 2, or with a few tokens before it
    return side, side
