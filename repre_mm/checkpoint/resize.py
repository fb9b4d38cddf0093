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

# Tokens that may have positions of their own, in the order in which they stand before the patches.
_TOKENS = ('cls_token', 'class_token', 'dist_token', 'reg_token')


def resize_position_embedding(
    embedding: Tensor,
    source: Grid,
    target: Grid,
    *,
    keep_tokens: int | None = None,
    mode: str = 'bicubic',
    antialias: bool = False,
) -> Tensor:
    """Interpolate the positions of patches: (1, T + h * w, C) -> (1, T' + h' * w', C). Those of tokens in front stay.

    Args:
        embedding: The positions.
        source: (h, w).
        target: (h', w').
        keep_tokens: T', how many of the T tokens to keep, the first ones; default: all.
        mode: ``'bicubic'`` or ``'bilinear'``, corners not aligned.
        antialias: As in timm.

    Raises:
        ValueError: The embedding is shorter than the source grid, or has fewer tokens than are to be kept.
    """
    tokens = embedding.shape[1] - source[0] * source[1]
    keep_tokens = tokens if keep_tokens is None else keep_tokens
    if not 0 <= keep_tokens <= tokens:
        raise ValueError(
            f'{embedding.shape[1]} positions are no grid of {source[0]} x {source[1]} after {keep_tokens} token(s)'
        )
    front, patches = embedding[:, :keep_tokens], embedding[:, tokens:]
    if source != target:
        maps = patches.transpose(1, 2).unflatten(2, source)  # (1, hw, C) -> (1, C, h, w)
        maps = F.interpolate(maps.float(), size=target, mode=mode, antialias=antialias, align_corners=False)
        patches = maps.flatten(2).transpose(1, 2).to(embedding.dtype)
    return torch.cat([front, patches], dim=1)


def resize_bias_table(table: Tensor, source: Grid, target: Grid) -> Tensor:
    """Interpolate a table of relative positions, bicubic, to another window (SimMIM, arXiv 2111.09886).

    Args:
        table: ((2h - 1) * (2w - 1), heads).
        source: The window (h, w) of the table.
        target: The window of the result.
    """
    if source == target:
        return table
    sides, wanted = ([2 * side - 1 for side in window] for window in (source, target))
    maps = table.T.unflatten(1, sides)[None].float()  # (rows * columns, heads) -> (1, heads, rows, columns)
    maps = F.interpolate(maps, size=wanted, mode='bicubic', align_corners=False)
    return maps[0].flatten(1).T.to(table.dtype)


def fit_positions(state: State, encoder: nn.Module, layout: Layout, source_grid: Grid | None = None) -> State:
    """Resize the positions of a state dict that have another size in the encoder.

    Args:
        state: In the encoder's own names.
        encoder: Gives the target grid and windows.
        layout: Of the encoder: timm interpolates with antialiasing.
        source_grid: Rows and columns of patches of the position embeddings; default: a square.

    Returns:
        Name -> resized tensor, of the encoder's shape; without those of another width or with fewer tokens.

    Raises:
        CheckpointError: A position embedding must be resized, and its grid is neither square nor given.
    """
    resized: State = {}
    for name, ours in encoder.state_dict().items():
        theirs = state.get(name)
        if theirs is None or theirs.ndim != ours.ndim or ours.ndim < 2:
            continue
        owner = encoder.get_submodule(name.rpartition('.')[0])
        if name.endswith('relative_position_bias_table') and theirs.shape[1] == ours.shape[1]:
            if theirs.shape != ours.shape and _side(len(theirs)):
                side = (_side(len(theirs)) + 1) // 2
                resized[name] = resize_bias_table(theirs, (side, side), _window(owner, len(ours)))
        elif name.endswith(('pos_embed', 'pos_embedding')) and ours.ndim == 3 and theirs.shape[2] == ours.shape[2]:
            grid = _patch_grid(owner, ours.shape[1])
            tokens = ours.shape[1] - grid[0] * grid[1]
            if theirs.shape == ours.shape and source_grid in (None, grid):
                continue
            source = _source_grid(state, name, source_grid)
            if theirs.shape[1] - source[0] * source[1] >= tokens:
                resized[name] = resize_position_embedding(
                    theirs,
                    source,
                    grid,
                    keep_tokens=tokens,
                    mode=getattr(owner, 'interpolate_mode', 'bicubic'),
                    antialias=layout.library == 'timm',
                )
    return resized


def square_grid(state: State, name: str) -> Grid | None:
    """The square grid of a position embedding; None if no square remains after its tokens."""
    length, width = state[name].shape[1:]
    present = {key.rpartition('.')[2]: value for key, value in state.items()}
    counts = [present[token].numel() // width for token in _TOKENS if token in present]
    # Some models give no position to their register tokens, or to none of their tokens.
    for tokens in [sum(counts[:kinds]) for kinds in range(len(counts), -1, -1)]:
        side = _side(length - tokens)
        if side:
            return side, side
    return None


def _source_grid(state: State, name: str, given: Grid | None) -> Grid:
    length = state[name].shape[1]
    grid = given or square_grid(state, name)
    if grid is None or grid[0] * grid[1] > length:
        wanted = f'grid of {given[0]} x {given[1]}' if given else 'square grid of'
        raise CheckpointError(
            f'{name} has {length} positions, which are no {wanted} patches: give source_grid=(ROWS, COLUMNS) '
            '(--source-grid ROWS COLUMNS)'
        )
    return grid


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


def _window(owner: nn.Module, rows: int) -> Grid:
    window = getattr(owner, 'window_size', (math.isqrt(rows) + 1) // 2)
    return (window, window) if isinstance(window, int) else (int(window[0]), int(window[1]))


def _side(cells: int) -> int | None:
    """Side of a square of that many cells; None if they are no square."""
    side = math.isqrt(max(cells, 0))
    return side if side and side * side == cells else None
