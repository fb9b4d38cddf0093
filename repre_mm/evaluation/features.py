"""Image vectors of a frozen encoder."""

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

#: What a linear classifier can be given, see :func:`probe_features`.
FEATURES = ('output', 'class_tokens_4', 'class_and_patches')


def global_features(encoder: nn.Module, images: Tensor) -> Tensor:
    """One vector per image from an encoder's last output, in evaluation mode and without gradients.

    Args:
        encoder: An mmpretrain backbone. It may be in the middle of training; every submodule gets its mode back.
        images: (B, 3, H, W), normalised as in training, on the encoder's device.

    Returns:
        (B, C), see :func:`repre_mm.models.taps.pooled`.

    Raises:
        UserError: The last output has another shape.
    """
    with eval_mode(encoder), torch.no_grad():
        return pooled(encoder(images))


def block_tokens(encoder: nn.Module, images: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    """Class and patch tokens of a ViT's last blocks, each after the final norm; evaluation mode, no gradients.

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
        f'{type(encoder).__name__} does not have {count} block{"s" if count > 1 else ""} with class tokens: '
        "take its own output instead (features='output')"
    )


def _has_class_tokens(model: nn.Module, count: int) -> bool:
    return getattr(model, 'cls_token', None) is not None and count <= len(getattr(model, 'blocks', ()))


def probe_features(encoder: nn.Module, images: Tensor, features: str = 'output') -> Tensor:
    """What a linear classifier gets of an image.

    Args:
        encoder: See :func:`global_features`.
        images: (B, 3, H, W), normalised.
        features: ``'output'``: the encoder's own vector, see :func:`global_features`. For a ViT also
            ``'class_tokens_4'``, the class tokens of the last 4 blocks in a row, and ``'class_and_patches'``, the
            last block's class token and the mean of its patch tokens (DINO, Appendix F.2, for ViT-S and ViT-B).

    Returns:
        (B, C), (B, 4 C) or (B, 2 C).

    Raises:
        UserError: Unknown ``features``, or the encoder has none such.
    """
    if features == 'output':
        return global_features(encoder, images)
    if features == 'class_tokens_4':
        return torch.cat([token for token, _ in block_tokens(encoder, images, 4)], dim=1)
    if features == 'class_and_patches':
        ((token, patches),) = block_tokens(encoder, images, 1)
        return torch.cat([token, patches.mean(dim=1)], dim=1)
    raise UserError(f'features={features!r} is unknown: choose from {", ".join(FEATURES)}')


def extract_features(
    encoder: FrozenEncoder, batches: Iterable[tuple[Tensor, Tensor]], *, amp: bool = False, progress: bool = True
) -> tuple[Tensor, Tensor]:
    """Vectors and labels of a whole data set.

    Args:
        encoder: The encoder, which is used where it is; see also :func:`global_features`.
        batches: Pairs of images (B, 3, H, W), uint8 or float in [0, 255], and integer labels (B,); for
            instance a DataLoader, whose length gives the progress bar its end.
        amp: Run the encoder in bfloat16 autocast.
        progress: Show a progress bar with the time left.

    Returns:
        Features (N, C), float32, and labels (N,), int64, both on the CPU.

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
