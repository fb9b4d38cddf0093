"""Check the annotations of a data set in COCO's format or laid out as Cityscapes, all splits."""

from __future__ import annotations

import json
import os
from pathlib import Path

from repre_mm.datasets.formats.classes import find_classes
from repre_mm.datasets.formats.coco import check_coco_split, find_coco_split
from repre_mm.datasets.formats.labels import count_pixels
from repre_mm.datasets.formats.masks import CITYSCAPES_SUFFIXES, VOID, find_pairs, is_cityscapes, locate_split
from repre_mm.datasets.listing import DatasetError

_CITYSCAPES_CLASSES = 19


def layout_faults(root: str | os.PathLike) -> list[str]:
    """List what would stop a training of detection or segmentation; nothing for a plain folder of images.

    Every image that a COCO file names is looked for; every mask of Cityscapes' layout is read.

    Args:
        root: The data set's folder.
    """
    root = Path(root).expanduser()
    if any(root.glob('annotations/instances_*.json')):
        check = _check_coco
    elif (root / 'leftImg8bit').is_dir():
        check = _check_cityscapes
    else:
        return []
    faults = []
    for split in ('train', 'val'):
        try:
            check(root, split)
        except DatasetError as error:
            faults.append(str(error))
    return faults


def _check_coco(root: Path, split: str) -> None:
    found = find_coco_split(root, split)
    check_coco_split(found)
    try:
        images = json.loads(found.ann_file.read_bytes())['images']
        names = [image['file_name'] for image in images]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f'{found.ann_file} is no annotation file in COCO format, or is cut short: {error}'
        ) from error
    missing = [name for name in names if not (found.images / name).is_file()]
    if missing:
        raise DatasetError(
            f'{found.ann_file} names {len(missing):,} of {len(names):,} images that are not in {found.images}, '
            f'the first is {missing[0]}'
        )


def _check_cityscapes(root: Path, split: str) -> None:
    images, masks = (root / folder for folder in locate_split(root, None, split)['data_prefix'].values())
    counts = count_pixels(find_pairs(images, masks, *CITYSCAPES_SUFFIXES))
    named = find_classes(root)
    count = _CITYSCAPES_CLASSES if is_cityscapes(root) else len(named[0]) if named else VOID
    wrong = counts[:, count:VOID].any(1).sum()
    if wrong:
        raise DatasetError(f'{wrong:,} of {len(counts):,} masks under {masks} have labels beyond the {count} classes')
