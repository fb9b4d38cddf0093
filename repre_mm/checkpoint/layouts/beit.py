"""Names of BEiT and CAE: mmpretrain, and timm (also the authors' releases).

A ViT with separate biases of queries and values, layer scale and, in BEiT, tables of relative positions, one for all
blocks (``rel_pos_bias``) or one per block.
"""

from __future__ import annotations

from typing import Any

from repre_mm.checkpoint.layouts import vit
from repre_mm.checkpoint.layouts.names import Layout, State

SHARED_TABLE = 'rel_pos_bias.relative_position_bias_table'
BLOCK_TABLE = 'layers.0.attn.relative_position_bias_table'

# mmpretrain, timm; gamma_1, gamma_2 and rel_pos_bias have the same names in both.
_TIMM = (
    ('patch_embed.projection', 'patch_embed.proj'),
    ('layers.{i}', 'blocks.{i}'),
    ('layers.{i}.ln1', 'blocks.{i}.norm1'),
    ('layers.{i}.ln2', 'blocks.{i}.norm2'),
    ('layers.{i}.ffn.layers.0.0', 'blocks.{i}.mlp.fc1'),
    ('layers.{i}.ffn.layers.1', 'blocks.{i}.mlp.fc2'),
    ('ln1', 'norm'),
    ('ln2', 'fc_norm'),  # after average pooling
)


def _without_index(state: State) -> State:
    return {name: value for name, value in state.items() if not name.endswith('relative_position_index')}  # a constant


LAYOUTS = (
    Layout('BEiT', 'mmpretrain', ('patch_embed.projection.weight', 'layers.0.attn.q_bias')),
    Layout(
        'BEiT',
        'timm',
        ('patch_embed.proj.weight', 'blocks.0.attn.q_bias'),
        table=_TIMM,
        tensors_in=_without_index,
        tensors_out=_without_index,
    ),
)


def describe(state: State) -> dict[str, Any]:
    """Derive from names and shapes the architecture of a BEiT (pivot names)."""
    table = next((state[name] for name in (SHARED_TABLE, BLOCK_TABLE) if name in state), None)
    norms = {'ln1.weight': 'before pooling', 'ln2.weight': 'after pooling'}
    facts = vit.describe(state) | {
        'relative_positions': 'shared' if SHARED_TABLE in state else 'per block' if BLOCK_TABLE in state else 'none',
        'layer_scale': 'layers.0.gamma_1' in state,
        'final_norm': next((where for name, where in norms.items() if name in state), 'none'),
    }
    return facts if table is None else facts | {'num_heads': table.shape[1]}
