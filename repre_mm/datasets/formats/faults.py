"""Faults of a data set's annotations, of all splits, for a folder in COCO's format or laid out as Cityscapes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from repre_mm.datasets.formats.cityscapes import check_labels, find_cityscapes_split, find_classes, is_cityscapes
from repre_mm.datasets.formats.coco import check_coco_split, find_coco_split
from repre_mm.datasets.listing import DatasetError

_CITYSCAPES_CLASSES = 19


def layout_faults(root: str | os.PathLike) -> list[str]:
    """What a training of detection or segmentation would stop at; nothing for a plain folder of images.

    Every image that a COCO file names is looked for; of Cityscapes' label maps some are read.

    Args:
        root: The data set's folder.
    """
    root = Path(root).expanduser()
    faults: list[str] = []
    if any(root.glob('annotations/instances_*.json')):
        for split in ('train', 'val'):
            _note(faults, _check_coco, root, split)
    elif (root / 'leftImg8bit').is_dir():
        for split in ('train', 'val'):
            _note(faults, _check_cityscapes, root, split)
    return list(dict.fromkeys(faults))  # classes are counted over both splits, and meet the same fault twice


def _note(faults: list[str], check: Callable[[Path, str], None], root: Path, split: str) -> None:
    try:
        check(root, split)
    except DatasetError as error:
        faults.append(str(error))


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
