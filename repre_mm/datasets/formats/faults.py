"""Check the annotations of a data set in COCO's format or laid out as Cityscapes, all splits."""

from __future__ import annotations

import os
from pathlib import Path

from repre_mm.datasets.formats.coco import find_coco_split
from repre_mm.datasets.formats.labels import count_pixels
from repre_mm.datasets.formats.masks import MaskFolder, locate_split
from repre_mm.datasets.listing import DatasetError


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
    ann_file, folder, _, images, _ = find_coco_split(root, split)
    missing = [name for name in images if not (folder / name).is_file()]
    if missing:
        raise DatasetError(
            f'{ann_file} names {len(missing):,} of {len(images):,} images that are not in {folder}, '
            f'the first is {missing[0]}'
        )


def _check_cityscapes(root: Path, split: str) -> None:
    count_pixels([(info['img_path'], info['seg_map_path']) for info in MaskFolder(**locate_split(root, None, split))])
