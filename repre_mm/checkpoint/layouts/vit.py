"""Names of Vision Transformer: mmpretrain, mmseg, timm (also DINO's, MoCo v3's and DeiT's releases) and torchvision."""

from __future__ import annotations

from typing import Any

from repre_mm.checkpoint.layouts.names import Layout, State

# mmpretrain, timm. Queries, keys and values are stacked in this order, heads inside, by all four libraries.
_TIMM = (
    ('cls_token', 'cls_token'),
    ('dist_token', 'dist_token'),
    ('pos_embed', 'pos_embed'),
    ('patch_embed.projection', 'patch_embed.proj'),
    ('pre_norm', 'norm_pre'),
    ('layers.{i}.ln1', 'blocks.{i}.norm1'),
    ('layers.{i}.attn.qkv', 'blocks.{i}.attn.qkv'),
    ('layers.{i}.attn.proj', 'blocks.{i}.attn.proj'),
    ('layers.{i}.attn.gamma1.weight', 'blocks.{i}.ls1.gamma'),
    ('layers.{i}.ln2', 'blocks.{i}.norm2'),
    ('layers.{i}.ffn.layers.0.0', 'blocks.{i}.mlp.fc1'),
    ('layers.{i}.ffn.layers.1', 'blocks.{i}.mlp.fc2'),
    ('layers.{i}.ffn.gamma2.weight', 'blocks.{i}.ls2.gamma'),
    ('ln1', 'norm'),
)

# mmpretrain, mmseg
_MMSEG = (
    ('cls_token', 'cls_token'),
    ('pos_embed', 'pos_embed'),
    ('patch_embed', 'patch_embed'),
    ('pre_norm', 'ln_pre'),
    ('layers.{i}.ln1', 'layers.{i}.ln1'),
    ('layers.{i}.attn.qkv.weight', 'layers.{i}.attn.attn.in_proj_weight'),
    ('layers.{i}.attn.qkv.bias', 'layers.{i}.attn.attn.in_proj_bias'),
    ('layers.{i}.attn.proj', 'layers.{i}.attn.attn.out_proj'),
    ('layers.{i}.ln2', 'layers.{i}.ln2'),
    ('layers.{i}.ffn.layers', 'layers.{i}.ffn.layers'),
    ('ln1', 'ln1'),
)

# mmpretrain, torchvision
_TORCHVISION = (
    ('cls_token', 'class_token'),
    ('pos_embed', 'encoder.pos_embedding'),
    ('patch_embed.projection', 'conv_proj'),
    ('layers.{i}.ln1', 'encoder.layers.encoder_layer_{i}.ln_1'),
    ('layers.{i}.attn.qkv.weight', 'encoder.layers.encoder_layer_{i}.self_attention.in_proj_weight'),
    ('layers.{i}.attn.qkv.bias', 'encoder.layers.encoder_layer_{i}.self_attention.in_proj_bias'),
    ('layers.{i}.attn.proj', 'encoder.layers.encoder_layer_{i}.self_attention.out_proj'),
    ('layers.{i}.ln2', 'encoder.layers.encoder_layer_{i}.ln_2'),
    ('layers.{i}.ffn.layers.0.0', 'encoder.layers.encoder_layer_{i}.mlp.0'),
    ('layers.{i}.ffn.layers.1', 'encoder.layers.encoder_layer_{i}.mlp.3'),
    ('ln1', 'encoder.ln'),
)

LAYOUTS = (
    Layout(
        'ViT',
        'mmpretrain',
        ('patch_embed.projection.weight', 'layers.0.attn.qkv.weight'),
        absent=('layers.0.attn.q_bias',),  # BEiT
    ),
    Layout(
        'ViT',
        'timm',
        ('patch_embed.proj.weight', 'blocks.0.attn.qkv.weight'),
        absent=('blocks.0.attn.q_bias',),  # BEiT
        table=_TIMM,
    ),
    Layout(
        'ViT',
        'mmseg',
        ('patch_embed.projection.weight', 'layers.0.attn.attn.in_proj_weight'),
        needs=('cls_token', 'layers.0.attn.attn.in_proj_bias'),
        table=_MMSEG,
    ),
    Layout(
        'ViT',
        'torchvision',
        ('conv_proj.weight', 'encoder.layers.encoder_layer_0.self_attention.in_proj_weight'),
        needs=('class_token', 'encoder.ln.weight', 'encoder.layers.encoder_layer_0.self_attention.in_proj_bias'),
        table=_TORCHVISION,
    ),
)


def describe(state: State) -> dict[str, Any]:
    """Derive from the shapes the architecture of a ViT (pivot names); the number of heads leaves no trace in them."""
    width, _, *patch = state['patch_embed.projection.weight'].shape
    depth = 1 + max(int(name.split('.')[1]) for name in state if name.startswith('layers.'))
    return {
        'embed_dims': width,
        'num_layers': depth,
        'feedforward_channels': state['layers.0.ffn.layers.0.0.weight'].shape[0],
        'patch_size': patch[0],
        'positions': state['pos_embed'].shape[1] if 'pos_embed' in state else 0,
    }
