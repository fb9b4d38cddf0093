"""Image vectors of a frozen encoder: one extractor for every evaluation."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from repre_mm.utils import eval_mode


def global_features(encoder: nn.Module, images: Tensor) -> Tensor:
    """One vector per image from an encoder's last output, in evaluation mode and without gradients.

    Args:
        encoder: An mmpretrain backbone: it returns a tensor or a tuple of them, of which the last is used. It
            may be in the middle of training; every submodule gets its mode back.
        images: (B, 3, H, W), normalised as in training, on the encoder's device.

    Returns:
        (B, C): a (B, C) output as it is (class token or averaged tokens), a (B, C, H, W) map averaged over
        positions.

    Raises:
        ValueError: The last output has another shape.
    """
    with eval_mode(encoder), torch.no_grad():
        output = encoder(images)
    if isinstance(output, (tuple, list)):
        output = output[-1]
    if output.ndim == 4:
        return output.mean(dim=(2, 3))  # (B, C, H, W) -> (B, C)
    if output.ndim != 2:
        raise ValueError(
            f'{type(encoder).__name__} returned {list(output.shape)}: expected (B, C) or (B, C, H, W). '
            "For an mmpretrain vision transformer set out_type='cls_token', 'avg_featmap' or 'featmap'"
        )
    return output


def extract_features(
    encoder: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device | str,
    amp: bool = False,
    progress: bool = True,
) -> tuple[Tensor, Tensor]:
    """Vectors and labels of a whole data set.

    Args:
        encoder: See :func:`global_features`; it is used where it is, so put it on ``device`` first.
        batches: Pairs of images (B, 3, H, W), uint8 or float in [0, 255], and integer labels (B,); for
            instance a DataLoader, whose length gives the progress bar its end.
        mean: Per channel, in units of [0, 255], as in the training's data preprocessor.
        std: Likewise.
        device: Where the encoder is.
        amp: Run the encoder in bfloat16 autocast.
        progress: Show a progress bar with the time left.

    Returns:
        Features (N, C), float32, and labels (N,), int64, both on the CPU.

    Raises:
        ValueError: There are no batches, or the encoder gave NaN or infinite values.
    """
    device = torch.device(device)
    mean, std = (torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1) for values in (mean, std))
    features, labels = [], []
    with eval_mode(encoder):
        for images, targets in tqdm(batches, desc='features', unit='batch', disable=not progress):
            images = (images.to(device, non_blocking=True).float() - mean) / std
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp):
                vectors = global_features(encoder, images)
            features.append(vectors.float().cpu())
            labels.append(targets.long().cpu())
    if not features:
        raise ValueError('there are no images to extract features from: the iterable gave no batches')
    features = torch.cat(features)
    finite = features.isfinite().all(dim=1)
    if not finite.all():
        raise ValueError(
            f'the features of {int((~finite).sum())} of {len(finite)} images are NaN or infinite: the '
            'checkpoint comes from a diverged training, or reduced precision overflows'
        )
    return features, torch.cat(labels)
