"""How the papers train the linear classifier: settings, schedules, and what of the encoder it is given."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmpretrain.models import VisionTransformer
from torch import nn

from repre_mm.models.backbones import TimmBackbone


@dataclass(frozen=True)
class LinearProtocol:
    """A published way to train the linear classifier; all use SGD with momentum 0.9 and a cosine, no weight decay.

    Attributes:
        name: To be given with every number.
        source: Where the settings are from.
        epochs: Passes over the augmented training images.
        batch_size: Images per step.
        lrs: Learning rates of the sweep, per ``lr_batch`` images; they are scaled with the batch.
        published_lr: The rate of the source, which is among them.
        lr_batch: See ``lrs``.
        features: ``'output'``, or ``'dino'`` for what DINO gives the classifier, by the encoder.
        warmup: Share of the training in which the rate grows from 0 in a line.
        every_step: Whether the rate changes with every step, or once per epoch.
        nesterov: Of SGD.
        init_std: Deviation of the weights that the classifier starts from.
    """

    name: str
    source: str
    epochs: int
    batch_size: int
    lrs: tuple[float, ...]
    published_lr: float
    lr_batch: int
    features: str = 'output'
    warmup: float = 0.0
    every_step: bool = False
    nesterov: bool = False
    init_std: float = 0.01


#: MoBY's own script trains with drop-path 0.2 in the frozen encoder and clips the gradient at 5; here the encoder is in
#: evaluation mode for all, and nothing is clipped.
PROTOCOLS = {
    'mocov3': LinearProtocol(
        'linear-mocov3-v1',
        'main_lincls.py and CONFIG.md of facebookresearch/moco-v3',
        epochs=90,
        batch_size=1024,
        lrs=(0.1, 0.3, 1.0, 3.0, 10.0),
        published_lr=3.0,
        lr_batch=256,
    ),
    'dino': LinearProtocol(
        'linear-dino-v1',
        'eval_linear.py of facebookresearch/dino',
        epochs=100,
        batch_size=1024,
        lrs=(3e-4, 1e-3, 3e-3, 1e-2),
        published_lr=1e-3,
        lr_batch=256,
        features='dino',
    ),
    'moby': LinearProtocol(
        'linear-moby-v1',
        'moby_linear.py of SwinTransformer/Transformer-SSL',
        epochs=100,
        batch_size=512,
        lrs=(0.3, 1.0, 3.0),
        published_lr=1.0,
        lr_batch=512,
        warmup=0.05,
        every_step=True,
        nesterov=True,
        init_std=0.02,
    ),
}

#: Below this width DINO concatenates class tokens, from it on it adds the mean patch token (ViT-S has 384, ViT-B 768).
_DINO_WIDE = 768


def lr_factor(protocol: LinearProtocol, epoch: int, step: int, steps: int, epochs: int) -> float:
    """What the learning rates are multiplied by at one step.

    Args:
        protocol: Its schedule.
        epoch: From 0.
        step: In the epoch, from 0.
        steps: Per epoch.
        epochs: In all.

    Returns:
        From 0 to 1.
    """
    progress = (epoch + step / steps) / epochs if protocol.every_step else epoch / epochs
    if progress < protocol.warmup:
        return progress / protocol.warmup
    return (1 + math.cos(math.pi * progress)) / 2


def features_for(encoder: nn.Module, protocol: LinearProtocol) -> str:
    """The name, as in :func:`probe_features`, of what a protocol takes from an encoder.

    DINO takes the last 4 blocks' class tokens of a narrow ViT, and class and mean patch token of a wide one; of a
    pyramid it takes the pooled last stage, which is the encoder's own output.
    """
    vit = isinstance(encoder, VisionTransformer) or (
        isinstance(encoder, TimmBackbone) and getattr(encoder.model, 'cls_token', None) is not None
    )
    if protocol.features != 'dino' or not vit:
        return 'output'
    return 'class_tokens_4' if encoder.embed_dims < _DINO_WIDE else 'class_and_patches'
