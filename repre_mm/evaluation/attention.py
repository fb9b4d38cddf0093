"""Map where an encoder looks: attention of the class token, or similarity of each cell to the pooled vector."""

from __future__ import annotations

import torch
from mmpretrain.models.utils.attention import MultiheadAttention
from timm.models.vision_transformer import Attention
from torch import Tensor, nn

from repre_mm.evaluation.features import has_class_token
from repre_mm.models.taps import EncoderLevels, LevelTap, encoder_levels
from repre_mm.utils.errors import UserError
from repre_mm.utils.modules import eval_mode


def class_token_leads(encoder: nn.Module) -> bool:
    """Whether the encoder's vector is its class token.

    If it is the mean of the patch tokens, no loss has trained the last attention of a class token.
    """
    inner = getattr(encoder, 'model', encoder)  # of TimmBackbone
    output = getattr(inner, 'out_type', getattr(inner, 'global_pool', ''))
    return has_class_token(encoder) and output in ('cls_token', 'token')


@torch.no_grad()
def class_attention(encoder: nn.Module, images: Tensor, layer: int = -1) -> Tensor:
    """Compute the attention of the class token to the patches, per head (RePre, Figure 4, left).

    The softmax is over all tokens, so a map sums to less than 1: class and register tokens take the rest.

    Args:
        encoder: mmpretrain's VisionTransformer or MoCoV3ViT, or TimmBackbone around a plain ViT.
        images: (B, 3, H, W), normalised as in training, on the encoder's device.
        layer: Block, from 0; negative ones count from the end.

    Returns:
        (B, heads, h, w), in [0, 1].

    Raises:
        UserError: There is no class token or no such block, or the attention is of an unknown kind.
    """
    if not has_class_token(encoder):
        raise UserError(
            f"{type(encoder).__name__} has no class token, so there is no class-token attention: use map 'similarity'"
        )
    levels = encoder_levels(encoder)
    layer = _checked(encoder, levels, layer)
    attention = getattr(levels.modules[layer], 'attn', None)
    if not isinstance(attention, (MultiheadAttention, Attention)):
        raise UserError(
            f'block {layer} of {type(encoder).__name__} computes its attention by {type(attention).__name__}, whose '
            "queries and keys are unknown: use map 'similarity'"
        )
    projected: list[Tensor] = []
    with eval_mode(encoder), attention.qkv.register_forward_hook(lambda _, __, output: projected.append(output)):
        encoder(images)
    B, N, _ = projected[0].shape
    # (B, N, 3 * heads * d) -> (3, B, heads, N, d)
    query, key, _ = projected[0].float().reshape(B, N, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    if isinstance(attention, Attention):
        query, key = attention.q_norm(query), attention.k_norm(key)
    # The class token comes first: (B, heads, 1, d) x (B, heads, d, N) -> (B, heads, N)
    scores = (query[:, :, :1] @ key.transpose(-2, -1)).squeeze(2) / query.shape[-1] ** 0.5
    rows, columns = levels.strides[layer]
    h, w = images.shape[-2] // rows, images.shape[-1] // columns
    return scores.softmax(-1)[..., N - h * w :].reshape(B, -1, h, w)


@torch.no_grad()
def similarity_map(encoder: nn.Module, images: Tensor, layer: int = -1) -> Tensor:
    """Compute the cosine of each cell with the mean of all cells: (B, h, w), in [-1, 1]; see :func:`level_map`."""
    maps = level_map(encoder, images, layer).float()
    pooled = maps.mean(dim=(2, 3), keepdim=True)  # (B, C, h, w) -> (B, C, 1, 1)
    return torch.cosine_similarity(maps, pooled, dim=1)


@torch.no_grad()
def level_map(encoder: nn.Module, images: Tensor, layer: int = -1) -> Tensor:
    """Compute one level of an encoder as a map (B, C, h, w), before any norm that follows the level.

    Args:
        encoder: Any encoder that :func:`repre_mm.models.taps.encoder_levels` knows.
        images: (B, 3, H, W), normalised as in training, on the encoder's device.
        layer: Level (block of a ViT, stage of a pyramid), from 0; negative ones count from the end.

    Raises:
        UserError: There is no such level.
    """
    layer = _checked(encoder, encoder_levels(encoder), layer)
    with eval_mode(encoder), LevelTap().open(encoder, [layer], images, need_grad=False) as maps:
        encoder(images)
    return maps[layer]


def _checked(encoder: nn.Module, levels: EncoderLevels, layer: int) -> int:
    if not -len(levels) <= layer < len(levels):
        raise UserError(
            f'{type(encoder).__name__} has no layer {layer}: choose from 0 to {len(levels) - 1}, or from '
            f'-{len(levels)} to -1 counting from the end'
        )
    return layer % len(levels)
