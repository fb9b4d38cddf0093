"""Extract the vectors of images by a frozen encoder."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from mmpretrain.models import VisionTransformer
from torch import Tensor, nn
from tqdm import tqdm

from repre_mm.evaluation.frozen import FrozenEncoder
from repre_mm.models.backbones import TimmBackbone
from repre_mm.models.taps import pooled
from repre_mm.utils.errors import UserError
from repre_mm.utils.modules import eval_mode


def global_features(encoder: nn.Module, images: Tensor) -> Tensor:
    """Compute one vector (B, C) per image from an encoder's last output, see :func:`repre_mm.models.taps.pooled`.

    Args:
        encoder: It may be in the middle of training: it is in evaluation mode meanwhile, and gets no gradients.
        images: (B, 3, H, W), normalised as in training, on the encoder's device.
    """
    with eval_mode(encoder), torch.no_grad():
        return pooled(encoder(images))


def block_tokens(encoder: nn.Module, images: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    """Compute class and patch tokens of a ViT's last blocks, each after the final norm.

    Args:
        encoder: mmpretrain's ``VisionTransformer`` (and its children), or ``TimmBackbone`` around a ViT.
        images: As for :func:`global_features`.
        count: How many blocks.

    Returns:
        Pairs of (B, C) and (B, N, C), shallow to deep.

    Raises:
        UserError: The encoder has no blocks with a class token, or fewer of them.
    """
    with eval_mode(encoder), torch.no_grad():
        if isinstance(encoder, VisionTransformer) and encoder.with_cls_token and count <= len(encoder.layers):
            outputs: list[Tensor] = []
            blocks = encoder.layers[len(encoder.layers) - count :]
            handles = [block.register_forward_hook(lambda _, __, tokens: outputs.append(tokens)) for block in blocks]
            try:
                encoder(images)
            finally:
                for handle in handles:
                    handle.remove()
            norm = encoder.ln1 if encoder.final_norm else nn.Identity()
            extra = encoder.num_extra_tokens
            return [(tokens[:, 0], tokens[:, extra:]) for tokens in map(norm, outputs)]
        if isinstance(encoder, TimmBackbone) and _has_class_tokens(encoder.model, count):
            options = {'norm': True, 'return_prefix_tokens': True, 'output_fmt': 'NLC', 'intermediates_only': True}
            pairs = encoder.model.forward_intermediates(images, indices=count, **options)
            return [(prefix[:, 0], patches) for patches, prefix in pairs]
    raise UserError(
        f"{type(encoder).__name__} has no {count} blocks with class tokens: use its own output (features='output')"
    )


def _has_class_tokens(model: nn.Module, count: int) -> bool:
    return getattr(model, 'cls_token', None) is not None and count <= len(getattr(model, 'blocks', ()))


def probe_features(encoder: nn.Module, images: Tensor, features: str = 'output') -> Tensor:
    """Compute the input of a linear classifier.

    Args:
        encoder: See :func:`global_features`.
        images: (B, 3, H, W), normalised.
        features: ``'output'``: (B, C), see :func:`global_features`. For a ViT also ``'class_tokens_4'``: (B, 4 C), the
            class tokens of the last 4 blocks, and ``'class_and_patches'``: (B, 2 C), the last block's class token and
            the mean of its patch tokens (DINO, Appendix F.2, for ViT-S and ViT-B).

    Raises:
        UserError: ``features`` is unknown, or the encoder has none such.
    """
    if features == 'output':
        return global_features(encoder, images)
    if features == 'class_tokens_4':
        return torch.cat([token for token, _ in block_tokens(encoder, images, 4)], dim=1)
    if features == 'class_and_patches':
        ((token, patches),) = block_tokens(encoder, images, 1)
        return torch.cat([token, patches.mean(dim=1)], dim=1)
    raise UserError(f'features={features!r} is unknown')


def extract_features(
    encoder: FrozenEncoder, batches: Iterable[tuple[Tensor, Tensor]], *, amp: bool = False, progress: bool = True
) -> tuple[Tensor, Tensor]:
    """Compute vectors (N, C), float32, and collect labels (N,), int64, of a data set, both on the CPU.

    Args:
        encoder: Used on its device.
        batches: Pairs of images (B, 3, H, W), uint8 or float in [0, 255], and integer labels (B,).
        amp: Run the encoder in bfloat16 autocast.
        progress: Show a progress bar with the time left.

    Raises:
        UserError: There are no batches, or the encoder gave NaN or infinite values.
    """
    features, labels = [], []
    with eval_mode(encoder.module):
        for images, targets in tqdm(batches, desc='features', unit='batch', disable=not progress):
            with torch.autocast(encoder.device.type, dtype=torch.bfloat16, enabled=amp):
                vectors = global_features(encoder.module, encoder.normalised(images))
            features.append(vectors.float().cpu())
            labels.append(targets.long().cpu())
    if not features:
        raise UserError('there are no images to extract features from: the iterable gave no batches')
    features = torch.cat(features)
    finite = features.isfinite().all(dim=1)
    if not finite.all():
        raise UserError(
            f'the features of {int((~finite).sum())} of {len(finite)} images are NaN or infinite: the '
            'checkpoint comes from a diverged training, or reduced precision overflows'
        )
    return features, torch.cat(labels)
