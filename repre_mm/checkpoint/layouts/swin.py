"""Names of Swin Transformer: mmpretrain (mmdet, mmseg), timm, the authors' release (and MoBY's) and torchvision.

Two more things differ. mmpretrain merges four neighbours with ``nn.Unfold``: channel first, place last; the others
concatenate four maps: place first, columns before rows. And mmpretrain and torchvision save the constant index into the
table of relative positions.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from repre_mm.checkpoint.layouts.names import Layout, State

_BLOCK = 'stages.{i}.blocks.{j}.'

# mmpretrain, the authors' release
_RELEASE = (
    ('absolute_pos_embed', 'absolute_pos_embed'),
    ('patch_embed.projection', 'patch_embed.proj'),
    ('patch_embed.norm', 'patch_embed.norm'),
    (_BLOCK + 'norm1', 'layers.{i}.blocks.{j}.norm1'),
    (_BLOCK + 'attn.w_msa', 'layers.{i}.blocks.{j}.attn'),
    (_BLOCK + 'norm2', 'layers.{i}.blocks.{j}.norm2'),
    (_BLOCK + 'ffn.layers.0.0', 'layers.{i}.blocks.{j}.mlp.fc1'),
    (_BLOCK + 'ffn.layers.1', 'layers.{i}.blocks.{j}.mlp.fc2'),
    ('stages.{i}.downsample', 'layers.{i}.downsample'),
    ('norm{last}', 'norm'),
)

# mmpretrain, timm: as the release, but a stage starts, not ends, with the merging.
_TIMM = tuple(
    (pivot, 'layers.{next}.downsample' if pivot == 'stages.{i}.downsample' else own) for pivot, own in _RELEASE
)

# mmpretrain, torchvision: stem, stage, merging, stage, ... in one row
_TORCHVISION = (
    ('patch_embed.projection', 'features.0.0'),
    ('patch_embed.norm', 'features.0.2'),
    (_BLOCK + 'norm1', 'features.{odd}.{j}.norm1'),
    (_BLOCK + 'attn.w_msa', 'features.{odd}.{j}.attn'),
    (_BLOCK + 'norm2', 'features.{odd}.{j}.norm2'),
    (_BLOCK + 'ffn.layers.0.0', 'features.{odd}.{j}.mlp.0'),
    (_BLOCK + 'ffn.layers.1', 'features.{odd}.{j}.mlp.3'),
    ('stages.{i}.downsample', 'features.{even}'),
    ('norm{last}', 'norm'),
)


def relative_position_index(window: int) -> Tensor:
    """(w * w, w * w) rows of the table for each pair of places in a square window, as all libraries count them."""
    places = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    rows, columns = (places[:, None] - places[None, :] + window - 1).unbind(-1)
    return rows * (2 * window - 1) + columns


def _channels_first(merged: Tensor) -> Tensor:
    """(..., 4C) from (column, row, C) to (C, row, column)."""
    return merged.unflatten(-1, (2, 2, -1)).transpose(-1, -3).flatten(-3)


def _channels_last(merged: Tensor) -> Tensor:
    """(..., 4C) from (C, row, column) to (column, row, C)."""
    return merged.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3)


def _tensors_in(state: State) -> State:
    converted: State = {}
    for name, value in state.items():
        if name.endswith(('attn_mask', 'relative_position_index')):
            continue  # constants: the one belongs to an image size, the other is made below
        converted[name] = _channels_first(value) if '.downsample.' in name else value
        if name.endswith('relative_position_bias_table') and math.isqrt(len(value)) ** 2 == len(value):
            index = relative_position_index((math.isqrt(len(value)) + 1) // 2)
            converted[name.replace('bias_table', 'index')] = index
    return converted


def _without_index(state: State) -> State:
    return {
        name: _channels_last(value) if '.downsample.' in name else value
        for name, value in state.items()
        if not name.endswith('relative_position_index')
    }


def _with_flat_index(state: State) -> State:
    flat = {name: value.flatten() for name, value in state.items() if name.endswith('relative_position_index')}
    return _without_index(state) | flat


_BIAS = 'attn.w_msa.relative_position_bias_table'
_TABLE = 'blocks.0.attn.relative_position_bias_table'
_MERGED_AT_END = 'layers.0.downsample.reduction.weight'

LAYOUTS = (
    Layout('Swin', 'mmpretrain', ('patch_embed.projection.weight', _BLOCK.format(i=0, j=0) + _BIAS)),
    Layout(
        'Swin',
        'timm',
        ('patch_embed.proj.weight', f'layers.0.{_TABLE}'),
        absent=(_MERGED_AT_END,),
        needs=('norm.weight',),
        table=_TIMM,
        tensors_in=_tensors_in,
        tensors_out=_without_index,
    ),
    Layout(
        'Swin',
        'release',
        ('patch_embed.proj.weight', f'layers.0.{_TABLE}', _MERGED_AT_END),
        table=_RELEASE,
        tensors_in=_tensors_in,
        tensors_out=_without_index,
    ),
    Layout(
        'Swin',
        'torchvision',
        ('features.0.0.weight', 'features.1.0.attn.relative_position_bias_table'),
        needs=('norm.weight',),
        table=_TORCHVISION,
        tensors_in=_tensors_in,
        tensors_out=_with_flat_index,
    ),
)


def describe(state: State) -> dict[str, Any]:
    """Derive from the shapes the architecture of a Swin (pivot names)."""
    tables = {name: value for name, value in state.items() if name.endswith('relative_position_bias_table')}
    stages = 1 + max(int(name.split('.')[1]) for name in tables)
    width, _, *patch = state['patch_embed.projection.weight'].shape
    first = 'stages.{}.blocks.0.' + _BIAS
    return {
        'embed_dims': width,
        'depths': [sum(name.startswith(f'stages.{i}.') for name in tables) for i in range(stages)],
        'num_heads': [tables[first.format(i)].shape[1] for i in range(stages)],
        'window_size': (math.isqrt(len(tables[first.format(0)])) + 1) // 2,
        'patch_size': patch[0],
    }
