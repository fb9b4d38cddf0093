"""Find and read the splits of a data set in COCO's format."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from repre_mm.datasets.listing import DatasetError


class CocoSplit(NamedTuple):
    """One split of a data set.

    Attributes:
        ann_file: The annotations.
        folder: What the names of images are relative to.
        categories: Id -> name, in the file's order, which numbers the labels.
        images: The ``file_name`` of each image.
        objects: Category id -> number of objects.
    """

    ann_file: Path
    folder: Path
    categories: dict[int, str]
    images: list[str]
    objects: Counter[int]


def find_coco_split(root: str | os.PathLike, split: str) -> CocoSplit:
    """Find a split by the usual names: COCO's own, or ``annotations/*SPLIT*.json`` with ``SPLIT`` or ``images``.

    Args:
        root: The data set's folder.
        split: ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        DatasetError: The folder or the annotation file is missing, there are several, or see :func:`read_coco_split`.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DatasetError(f'the data folder {root} does not exist. Name yours with --data DIR')
    usual = root / f'annotations/instances_{split}2017.json'
    others = [*root.glob(f'annotations/*{split}*.json'), *root.glob(f'*{split}*.json')]
    found = [usual] if usual in others else sorted(others)
    if len(found) != 1:
        raise DatasetError(
            f'{root} must have one annotation file for {split}, annotations/*{split}*.json; found: '
            f'{", ".join(str(path.relative_to(root)) for path in found) or "none"}. Name another one in the config: '
            f'{split}_dataloader.dataset.ann_file and data_prefix.img'
        )
    folders = [f'{split}2017', split, f'images/{split}2017', f'images/{split}', 'images', '.']
    return read_coco_split(found[0], [root / folder for folder in folders])


def read_coco_split(ann_file: str | os.PathLike, folders: Sequence[Path]) -> CocoSplit:
    """Read an annotation file.

    Args:
        ann_file: The file.
        folders: Where the images may be; the first that holds the first image is taken.

    Raises:
        DatasetError: The file is missing, damaged, of another format or contradicts itself, or no folder has the image.
    """
    try:
        content = json.loads(Path(ann_file).read_bytes())
        categories = {category['id']: category['name'] for category in content['categories']}
        images = [image['file_name'] for image in content['images']]
        objects = Counter(annotation['category_id'] for annotation in content['annotations'])
        first, count = images[0], len(content['categories'])
    except OSError as error:
        raise DatasetError(f'the annotation file {ann_file} cannot be read: {error.strerror}. Copy it again') from error
    except (ValueError, LookupError, TypeError) as error:
        raise DatasetError(
            f'{ann_file} is cut short, or no annotation file in COCO format with "images", "annotations" and '
            f'"categories" ({type(error).__name__}: {error}): copy or make it again'
        ) from error
    if not len(categories) == len({*categories.values()}) == count > 0:
        raise DatasetError(f'{ann_file} must list a category at least, and no id or name of them twice')
    if stray := objects.keys() - categories.keys():
        raise DatasetError(f'{ann_file} has objects of category {min(stray)}, which "categories" lacks: add it')
    for folder in folders:
        if (folder / first).is_file():
            return CocoSplit(Path(ann_file), folder, categories, images, objects)
    raise DatasetError(
        f'{ann_file} names the image {first}, which is not in {" or ".join(map(str, folders))}. '
        'Name its folder in the config: data_prefix.img of the data set'
    )
