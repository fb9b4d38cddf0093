"""Patch features of a frozen encoder: its last map, and the means of regions."""

from __future__ import annotations

import torch
from mmpretrain.models import SwinTransformer, VisionTransformer
from torch import Tensor, nn

from repre_mm.evaluation.attention import level_map
from repre_mm.models.backbones import TimmBackbone
from repre_mm.utils.errors import UserError
from repre_mm.utils.modules import eval_mode


@torch.no_grad()
def patch_map(encoder: nn.Module, images: Tensor) -> Tensor:
    """The patch tokens of the last block, or the last map of a pyramid, after the encoder's final norm.

    Args:
        encoder: See :func:`repre_mm.models.taps.encoder_levels`.
        images: (B, 3, H, W), normalised as in training, on the encoder's device.

    Returns:
        (B, C, h, w), float32.

    Raises:
        UserError: The encoder has no patch tokens.
    """
    if isinstance(encoder, TimmBackbone) and hasattr(encoder.model, 'forward_intermediates'):
        options = {'indices': 1, 'norm': True, 'output_fmt': 'NCHW', 'intermediates_only': True}
        with eval_mode(encoder):
            return encoder.model.forward_intermediates(images, **options)[-1].float()
    try:
        maps = level_map(encoder, images)
    except TypeError as error:
        raise UserError(f'{type(encoder).__name__} has no patch tokens to compare: {error}') from error
    if isinstance(encoder, SwinTransformer):
        # mmpretrain keeps the norm of a stage only where it is an output.
        norm = getattr(encoder, f'norm{len(encoder.stages) - 1}', None)
        maps = _on_channels(norm, maps) if norm is not None else maps
    elif isinstance(encoder, VisionTransformer) and encoder.final_norm:
        # mmpretrain applies it after the last block, which is where the level is heard.
        maps = _on_channels(encoder.ln1, maps)
    return maps.float()


def region_means(maps: Tensor, shares: Tensor) -> Tensor:
    """The mean feature of each region, weighted by the share of each cell that it covers.

    (C, h, w) and (R, h, w) in [0, 1] -> (R, C).
    """
    weights = shares / shares.sum(dim=(1, 2), keepdim=True)
    return torch.einsum('rhw,chw->rc', weights.to(maps), maps)


def _on_channels(norm: nn.Module, maps: Tensor) -> Tensor:
    """A norm over the last axis, applied to (B, C, h, w)."""
    return norm(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
