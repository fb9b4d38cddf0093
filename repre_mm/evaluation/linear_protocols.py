"""Settings and schedules of linear evaluation as the papers' authors run it.

All: SGD with momentum 0.9 without weight decay on one linear layer, whose bias starts at 0; images of 224 pixels by
``RandomResizedCrop(224)`` and a flip; validation by ``Resize(256)``, ``CenterCrop(224)``; learning rates for a batch of
``lr_batch``, scaled with it. All report the best epoch, chosen on the validation images. Numbers are lines of the files
at the commits named.

**MoCo v3**, facebookresearch/moco-v3 at c349e6e

- 90 epochs, batch 1,024, momentum 0.9, no decay: ``main_lincls.py`` 49, 53, 60, 62
- learning rate 3, by batch / 256: ``CONFIG.md`` 144, 174; ``main_lincls.py`` 196
- cosine once per epoch: ``main_lincls.py`` 501
- weights from a normal distribution of deviation 0.01: ``main_lincls.py`` 168
- validation resize by torchvision's default, bilinear: ``main_lincls.py`` 290
- encoder in evaluation mode: ``main_lincls.py`` 348

**DINO**, facebookresearch/dino at 7c446df

- 100 epochs, batch 128 per GPU (8 GPUs here): ``eval_linear.py`` 265, 270
- learning rate 0.001 by batch / 256, "we recommend tweaking": ``eval_linear.py`` 266, 105
- cosine once per epoch, to 0: ``eval_linear.py`` 109
- weights from a normal distribution of deviation 0.01: ``eval_linear.py`` 243
- the teacher's class tokens of the last 4 blocks (ViT-S), or class token and mean patch token of the last (ViT-B):
  ``eval_linear.py`` 166 to 170, 256, 258, 264
- validation resize bicubic: ``eval_linear.py`` 66

**MoBY**, SwinTransformer/Transformer-SSL at 4510de1

- 100 epochs, 5 of them warm-up, batch 8 x 64: ``moby_linear.py`` 92, 93; ``get_started.md`` 182
- learning rate 1 by batch / 512: ``moby_linear.py`` 71, 359
- Nesterov: ``optimizer.py`` 26
- linear warm-up from 5e-7, cosine to 5e-6 with every step, after the step: ``config.py`` 97, 98; ``lr_scheduler.py`` 21
- label smoothing 0.1: ``config.py`` 59; ``moby_linear.py`` 140
- gradient clipped at norm 5: ``config.py`` 100; ``moby_linear.py`` 240
- drop-path 0.2 in the frozen encoder while the classifier trains: ``moby_linear.py`` 72, 189
- weights from a normal distribution of deviation 0.02: ``models/swin_transformer.py`` 553
- validation resize by torchvision's default, bilinear: ``data/build.py`` 137

Not as theirs: all rates of a sweep are trained side by side; all use the last, smaller batch of an epoch (MoBY drops
it); no mixed precision unless asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LinearProtocol:
    """A published way to train the linear classifier.

    Attributes:
        name: To be given with every number.
        epochs: Passes over the augmented training images.
        batch_size: Images per step.
        lrs: Learning rates of the sweep, per ``lr_batch`` images.
        lr_batch: See ``lrs``.
        interpolation: Of the validation resize.
        features: See :func:`repre_mm.evaluation.features.encode`.
        warmup: Share of the training in which the rate grows, in MoBY's schedule; None: cosine once per epoch, to 0.
        classifiers: Settings of :class:`repre_mm.evaluation.classifiers.LinearClassifiers`.
        backbone_options: Settings that the encoder has to be built with; its drop-path acts while the classifier
            trains.
    """

    name: str
    epochs: int
    batch_size: int
    lrs: tuple[float, ...]
    lr_batch: int
    interpolation: str
    features: str = 'output'
    warmup: float | None = None
    classifiers: Mapping[str, Any] = field(default_factory=lambda: {'init_std': 0.01})
    backbone_options: Mapping[str, Any] = field(default_factory=dict)


#: See the top of this file for where each value is from.
PROTOCOLS = {
    'mocov3': LinearProtocol(
        'linear-mocov3-v2',
        epochs=90,
        batch_size=1024,
        lrs=(0.1, 0.3, 1.0, 3.0, 10.0),
        lr_batch=256,
        interpolation='bilinear',
    ),
    'dino': LinearProtocol(
        'linear-dino-v2',
        epochs=100,
        batch_size=1024,
        lrs=(3e-4, 1e-3, 3e-3, 1e-2),
        lr_batch=256,
        interpolation='bicubic',
        features='dino',
    ),
    'moby': LinearProtocol(
        'linear-moby-v2',
        epochs=100,
        batch_size=512,
        lrs=(0.3, 1.0, 3.0),
        lr_batch=512,
        interpolation='bilinear',
        warmup=0.05,
        classifiers={'init_std': 0.02, 'nesterov': True, 'label_smoothing': 0.1, 'clip': 5.0},
        backbone_options={'drop_path_rate': 0.2},
    ),
}

_MOBY_START, _MOBY_END = 5e-7, 5e-6  # factors of the rate at the first step and at the end of the cosine


def lr_factor(protocol: LinearProtocol, epoch: int, step: int, steps: int, epochs: int) -> float:
    """Compute the factor of the learning rates, 0 to 1, at an epoch and a step in it, both counted from 0."""
    if protocol.warmup is None:
        return (1 + math.cos(math.pi * epoch / epochs)) / 2
    progress = max(epoch * steps + step - 1, 0) / (epochs * steps)
    if progress < protocol.warmup:
        return _MOBY_START + (1 - _MOBY_START) * progress / protocol.warmup
    return _MOBY_END + (1 - _MOBY_END) * (1 + math.cos(math.pi * progress)) / 2
