"""Check the annotations of a data set in COCO's format or laid out as Cityscapes, all splits."""

from __future__ import annotations

import json
import os
from pathlib import Path

from repre_mm.datasets.formats.cityscapes import check_labels, find_cityscapes_split, find_classes, is_cityscapes
from repre_mm.datasets.formats.coco import check_coco_split, find_coco_split
from repre_mm.datasets.listing import DatasetError

_CITYSCAPES_CLASSES = 19


def layout_faults(root: str | os.PathLike) -> list[str]:
    """List what would stop a training of detection or segmentation; nothing for a plain folder of images.

    Every image that a COCO file names is looked for; of Cityscapes' label maps some are read.

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
    faults: dict[str, None] = {}  # a set: classes are counted over both splits, which then have the same fault
    for split in ('train', 'val'):
        try:
            check(root, split)
        except DatasetError as error:
            faults[str(error)] = None
    return list(faults)


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
    found = find_cityscapes_split(root, split)
    count = _CITYSCAPES_CLASSES if is_cityscapes(root) else len(find_classes(root)[0])
    check_labels(found, count)
