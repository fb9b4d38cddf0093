"""Open a data set of parts by its layout: ``LAYOUT:DIR``, or COCO files with their images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from repre_mm.studies.parts.ade20k import read_ade20k
from repre_mm.studies.parts.coco import read_coco
from repre_mm.studies.parts.cub import read_cub
from repre_mm.studies.parts.data import Splits, check_pair
from repre_mm.studies.parts.fcn import SCALES, Scales
from repre_mm.studies.parts.pascal_part import read_pascal_part
from repre_mm.utils.errors import UserError


def read_part_imagenet(root: Path) -> Splits:
    """Read PartImageNet: ``annotations/{train,val}/{train,val}.json`` and ``images/{train,val}``.

    Objects are the supercategories (``'Quadruped'``). The splits share no ImageNet class, so one may lack a part class.
    """
    train, val = (
        read_coco(root / 'annotations' / split / f'{split}.json', root / 'images' / split, all_classes=False)
        for split in ('train', 'val')
    )
    return train, val


#: Layout -> reader of the training and validation images of a folder.
LAYOUTS: dict[str, Callable[[Path], Splits]] = {
    'cub': lambda root: (read_cub(root, 'train'), read_cub(root, 'val')),
    'pascal-part': read_pascal_part,
    'partimagenet': read_part_imagenet,
    'ade20k': read_ade20k,
}


def open_layout(text: str) -> tuple[Splits, Scales]:
    """Read ``LAYOUT:DIR``: both splits, and the sizes at which the study segments such data.

    Raises:
        UserError: The layout is unknown, or the folder does not have it.
    """
    layout, colon, root = text.partition(':')
    if layout not in LAYOUTS or not colon or not root:
        raise UserError(f'{text!r} is not of the form LAYOUT:DIR, with LAYOUT one of {", ".join(LAYOUTS)}')
    splits = LAYOUTS[layout](Path(root).expanduser())
    check_pair(*splits)
    return splits, SCALES.get(layout, SCALES['ade20k'])


def open_coco(train: tuple[str, str], val: tuple[str, str]) -> tuple[Splits, Scales]:
    """Read COCO files of part masks, each with its folder of images; returns as :func:`open_layout`."""
    splits = read_coco(*train), read_coco(*val)
    check_pair(*splits)
    return splits, SCALES['ade20k']
