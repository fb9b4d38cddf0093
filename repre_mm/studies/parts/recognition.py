"""The part-aware study of one frozen encoder (Zhu et al., TMLR 2023, arXiv 2301.11915).

Recognition: parts, and whole objects, are cut out, encoded one by one, and classified by a linear probe on the class
token and by an attentive probe on all tokens. Retrieval: every part is a query among all parts. Segmentation: see
``fcn.py``. Where the study's text and code leave something open:

- Its classification and retrieval use keypoints (CUB-200-2011, COCO people), around which it cuts squares. For data
  with masks a part's patch is the smallest square around the mask's bounding box, an object's that around its parts.
- Its object-level recognition is ImageNet classification and segmentation of ADE20K's and Pascal's objects; here the
  object level of the same data is probed in the same way as the part level.
- Encoders without a class token (Swin) give the mean of their tokens in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from repre_mm.evaluation.features import FrozenEncoder
from repre_mm.studies.parts.crops import Crops, encode_crops
from repre_mm.studies.parts.data import PartData, check_pair
from repre_mm.studies.parts.fcn import BATCH_SIZE, ITERATIONS, Scales, score_head, train_head
from repre_mm.studies.parts.precision import average_precision
from repre_mm.studies.parts.probes import PROBES, probe
from repre_mm.studies.parts.representations import Projector, represent_crops

LEVELS = ('part', 'object')
TASKS = ('recognition', 'retrieval', 'segmentation')
#: Loads the encoder for images of some size, for which its positions are resized; None: its own size.
EncoderAt = Callable[[int | None], FrozenEncoder]


def study_encoder(
    encoder_at: EncoderAt,
    train: PartData,
    val: PartData,
    *,
    levels: Sequence[str] = LEVELS,
    tasks: Sequence[str] = TASKS,
    projector: Projector | None = None,
    scales: Scales,
    epochs: int | None = None,
    iterations: int = ITERATIONS,
    segmentation_batch: int = BATCH_SIZE,
    batch_size: int = 128,
    workers: int = 2,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Score a frozen encoder by the study's protocols.

    Args:
        encoder_at: See :data:`EncoderAt`.
        train: For the training of probes and heads.
        val: For the scores; retrieval is among its parts.
        levels: Among :data:`LEVELS`; retrieval is of parts alone.
        tasks: Among :data:`TASKS`; data without masks has no segmentation.
        projector: Also retrieve by projections, see :mod:`repre_mm.studies.parts.representations`.
        scales: Of segmentation.
        epochs: Of the probes; default: the study's 90.
        iterations: Of the segmentation head.
        segmentation_batch: Images per iteration.
        batch_size: Patches per forward pass.
        workers: Image loading processes.
        seed: Of the probes and heads.
        progress: Show progress bars.

    Returns:
        Numbers and names only, ready for JSON: ``image_size``, and per level ``classes``, ``train_regions``,
        ``val_regions``, per probe ``top1`` and ``best_top1`` (None for a single class), ``retrieval`` (see
        :func:`average_precision`, per representation) and ``segmentation`` (``miou``, ``iou``).

    Raises:
        UserError: The splits have different classes, or the features are not finite.
    """
    check_pair(train, val)
    encoder = encoder_at(None)
    result: dict[str, Any] = {'image_size': encoder.image_size}
    encoding = {'batch_size': batch_size, 'workers': workers, 'progress': progress}
    for level in levels:
        names = train.parts if level == 'part' else train.objects
        found = result[level] = {'classes': len(names)}
        val_crops = Crops(val, level, encoder.image_size)
        found['val_regions'] = sum(val_crops.counts())
        if 'recognition' in tasks:
            train_crops = Crops(train, level, encoder.image_size, training=True)
            found['train_regions'] = sum(train_crops.counts())
            found |= dict.fromkeys(PROBES)
            if len(names) > 1:
                sets = *encode_crops(encoder, train_crops, **encoding), *encode_crops(encoder, val_crops, **encoding)
                options = {'epochs': epochs, 'seed': seed, 'device': encoder.device, 'progress': progress}
                found |= {name: probe(name, *sets, len(names), **options) for name in PROBES}
        if 'retrieval' in tasks and level == 'part':
            vectors, labels = represent_crops(encoder, projector, val_crops, **encoding)
            found['retrieval'] = {name: average_precision(one, labels, names) for name, one in vectors.items()}
        if 'segmentation' in tasks and train.decode is not None:
            crop_encoder = encoder_at(scales.crop)
            options = {'iterations': iterations, 'batch_size': segmentation_batch, 'workers': workers, 'seed': seed}
            head = train_head(crop_encoder, train, level, scales, progress=progress, **options)
            found['segmentation'] = score_head(crop_encoder, head, val, level, scales, progress=progress)
    return result
