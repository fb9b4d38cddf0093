"""PartImageNet: COCO files of 40 part classes in 11 groups of animals and things."""

from __future__ import annotations

import os
from pathlib import Path

from repre_mm.studies.parts.coco import read_coco
from repre_mm.studies.parts.data import PartData


def read_part_imagenet(root: str | os.PathLike) -> tuple[PartData, PartData]:
    """Read the training and validation images of ``root``.

    Files: ``annotations/{train,val}/{train,val}.json`` and ``images/{train,val}/*``. Objects are the supercategories
    (``'Quadruped'``). The data set's splits share no ImageNet class, so a split may lack a part class.

    Raises:
        EvaluationError: As of :func:`read_coco`.
    """
    root = Path(root).expanduser()
    train, val = (
        read_coco(root / 'annotations' / split / f'{split}.json', root / 'images' / split, all_classes=False)
        for split in ('train', 'val')
    )
    return train, val
