"""Names of an encoder's tensors in each library: ViT, BEiT, Swin and ResNet.

mmpretrain's names are the pivot: a layout is a table of renames to them, and any two layouts of a family convert into
one another through the pivot. Queries, keys and values are stacked in this order, heads inside, by all libraries.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

State = dict[str, Tensor]

# Buffers that follow from the architecture: a file may lack them, or have those of another window.
CONSTANTS = ('relative_position_index', 'attn_mask')
# BEiT's tables of relative positions: one for all blocks, or one per block.
SHARED_TABLE = 'rel_pos_bias.relative_position_bias_table'
BLOCK_TABLE = 'layers.0.attn.relative_position_bias_table'


@dataclass(frozen=True)
class Layout:
    """One library's names for one family of encoders.

    Attributes:
        family: ``'ViT'``, ``'BEiT'``, ``'Swin'`` or ``'ResNet'``; layouts of one family convert into one another.
        library: Whose names they are.
        marks: Names that all encoders of this layout have, by which it is recognised.
        absent: Names that would make it another layout.
        table: (pivot name, own name) of modules and tensors. ``{i}`` and ``{j}`` count blocks, or stages and their
            blocks; ``{next}`` is i + 1, ``{last}`` the last stage.
    """

    family: str
    library: str
    marks: tuple[str, ...]
    absent: tuple[str, ...] = ()
    table: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f'{self.family}, {self.library} names'

    def at(self, names: Iterable[str]) -> list[str]:
        """The prefixes (``''`` or ending with a dot) under which ``names`` hold an encoder of this layout."""
        names, mark = set(names), self.marks[0]
        prefixes = sorted(name[: -len(mark)] for name in names if name == mark or name.endswith('.' + mark))
        return [
            prefix
            for prefix in prefixes
            if all(prefix + other in names for other in self.marks)
            and not any(prefix + other in names for other in self.absent)
        ]

    def to_pivot(self, state: State) -> State:
        """Own names and order -> mmpretrain's. Names that the table lacks stay; constants are left out."""
        return self._renamed(state, {own: pivot for pivot, own in self._expand(state)}, (2, 2, -1))

    def from_pivot(self, state: State) -> State:
        """mmpretrain's names and order -> own. Names that the table lacks stay; constants are left out."""
        return self._renamed(state, dict(self._expand(state)), (-1, 2, 2))

    def _renamed(self, state: State, names: Mapping[str, str], merged: tuple[int, int, int]) -> State:
        """Rename each tensor by the longest of its parents (itself included) that ``names`` lists."""
        if not names:
            return state
        renamed = {}
        for name, value in state.items():
            if name.endswith(CONSTANTS):
                continue
            parent = name
            while parent and parent not in names:
                parent = parent.rpartition('.')[0]
            # Swin merges four neighbours: (C, row, column) in mmpretrain, by nn.Unfold, (column, row, C) elsewhere.
            if self.family == 'Swin' and '.downsample.' in name:
                value = value.unflatten(-1, merged).transpose(-1, -3).flatten(-3)
            renamed[names.get(parent, '') + name[len(parent) :]] = value
        return renamed

    def _expand(self, state: State) -> list[tuple[str, str]]:
        # Indices beyond those present do no harm, so the largest number in any name is bound enough.
        bound = 1 + max((int(number) for name in state for number in re.findall(r'\d+', name)), default=0)
        stages = re.findall(r'^(?:stages|layers)\.(\d+)', '\n'.join(state), re.MULTILINE)
        pairs = []
        for pivot, own in self.table:
            for i in range(bound if '{' in pivot else 1):
                for j in range(bound if '{j}' in pivot else 1):
                    numbers = {'i': i, 'j': j, 'next': i + 1, 'last': max(map(int, stages), default=0)}
                    pairs.append((pivot.format(**numbers), own.format(**numbers)))
        return pairs


# Of timm, and the releases of DINO, MoCo v3, MAE and DeiT.
_VIT = (
    ('patch_embed.projection', 'patch_embed.proj'),
    ('pre_norm', 'norm_pre'),
    ('layers.{i}', 'blocks.{i}'),
    ('layers.{i}.ln1', 'blocks.{i}.norm1'),
    ('layers.{i}.attn.gamma1.weight', 'blocks.{i}.ls1.gamma'),
    ('layers.{i}.ln2', 'blocks.{i}.norm2'),
    ('layers.{i}.ffn.layers.0.0', 'blocks.{i}.mlp.fc1'),
    ('layers.{i}.ffn.layers.1', 'blocks.{i}.mlp.fc2'),
    ('layers.{i}.ffn.gamma2.weight', 'blocks.{i}.ls2.gamma'),
    ('ln1', 'norm'),
)
_BEIT = (*_VIT, ('ln2', 'fc_norm'))  # after average pooling
_MMSEG = (
    ('pre_norm', 'ln_pre'),
    ('layers.{i}.attn.qkv.weight', 'layers.{i}.attn.attn.in_proj_weight'),
    ('layers.{i}.attn.qkv.bias', 'layers.{i}.attn.attn.in_proj_bias'),
    ('layers.{i}.attn.proj', 'layers.{i}.attn.attn.out_proj'),
)
_SWIN = (
    ('patch_embed.projection', 'patch_embed.proj'),
    ('stages.{i}', 'layers.{i}'),
    ('stages.{i}.blocks.{j}.attn.w_msa', 'layers.{i}.blocks.{j}.attn'),
    ('stages.{i}.blocks.{j}.ffn.layers.0.0', 'layers.{i}.blocks.{j}.mlp.fc1'),
    ('stages.{i}.blocks.{j}.ffn.layers.1', 'layers.{i}.blocks.{j}.mlp.fc2'),
    ('norm{last}', 'norm'),
)
# A stage starts with the merging; in the authors' release it ends with it.
_SWIN_TIMM = (*_SWIN, ('stages.{i}.downsample', 'layers.{next}.downsample'))

_BIAS = 'relative_position_bias_table'
_SWIN_MARKS = ('patch_embed.proj.weight', f'layers.0.blocks.0.attn.{_BIAS}')
_MERGED_AT_END = ('layers.0.downsample.reduction.weight',)

LAYOUTS = (
    Layout(
        'ViT', 'mmpretrain', ('patch_embed.projection.weight', 'layers.0.attn.qkv.weight'), ('layers.0.attn.q_bias',)
    ),
    Layout(
        'ViT', 'timm', ('patch_embed.proj.weight', 'blocks.0.attn.qkv.weight'), ('blocks.0.attn.q_bias',), table=_VIT
    ),
    Layout('ViT', 'mmseg', ('patch_embed.projection.weight', 'layers.0.attn.attn.in_proj_weight'), table=_MMSEG),
    # BEiT and CAE: separate biases of queries and values.
    Layout('BEiT', 'mmpretrain', ('patch_embed.projection.weight', 'layers.0.attn.q_bias')),
    Layout('BEiT', 'timm', ('patch_embed.proj.weight', 'blocks.0.attn.q_bias'), table=_BEIT),
    # mmdet's and mmseg's too.
    Layout('Swin', 'mmpretrain', ('patch_embed.projection.weight', f'stages.0.blocks.0.attn.w_msa.{_BIAS}')),
    Layout('Swin', 'timm', _SWIN_MARKS, _MERGED_AT_END, _SWIN_TIMM),
    Layout('Swin', 'release', _SWIN_MARKS + _MERGED_AT_END, table=_SWIN),
    # With the plain stem, alike in all libraries.
    Layout('ResNet', 'mmpretrain', ('conv1.weight', 'bn1.weight', 'layer1.0.conv1.weight')),
)


def get_layout(family: str, library: str) -> Layout:
    """The layout of that family and library."""
    return next(layout for layout in LAYOUTS if (layout.family, layout.library) == (family, library))


def convert(state: State, source: Layout, target: Layout) -> State:
    """Convert from one layout to another of the same family. Names that have no counterpart stay as they are."""
    return state if source == target else target.from_pivot(source.to_pivot(state))


def under(state: State, prefix: str) -> State:
    """Tensors whose names start with a prefix, under their names without it."""
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}


def describe(state: State, layout: Layout) -> dict[str, Any]:
    """Derive the architecture from names and shapes, in mmpretrain's keywords; empty for a ResNet.

    The number of a ViT's heads leaves no trace in them.
    """
    if layout.family == 'ResNet':
        return {}
    state = layout.to_pivot(state)
    width, _, patch, _ = state['patch_embed.projection.weight'].shape
    if layout.family == 'Swin':
        tables = {name: value for name, value in state.items() if name.endswith(_BIAS)}
        # (rows, heads) of the first block of each stage
        first = [value for name, value in tables.items() if '.blocks.0.' in name]
        return {
            'embed_dims': width,
            'depths': [sum(name.startswith(f'stages.{i}.') for name in tables) for i in range(len(first))],
            'num_heads': [table.shape[1] for table in first],
            'window_size': (math.isqrt(len(first[0])) + 1) // 2,
            'patch_size': patch,
        }
    return {
        'embed_dims': width,
        'num_layers': 1 + max(int(name.split('.')[1]) for name in state if name.startswith('layers.')),
        'feedforward_channels': state['layers.0.ffn.layers.0.0.weight'].shape[0],
        'patch_size': patch,
        'positions': state['pos_embed'].shape[1] if 'pos_embed' in state else 0,
    }
