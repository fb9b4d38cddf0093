"""Files and categories of data sets in COCO's format, found without loading all annotations."""

from __future__ import annotations

import json
import mmap
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from repre_mm.datasets.listing import DatasetError

_FIRST_CHUNK = 1 << 16  # bytes: enough for the categories of most data sets


class CocoSplit(NamedTuple):
    """One split: its annotation file, and the folder that the ``file_name`` entries are relative to."""

    ann_file: Path
    images: Path


def find_coco_split(root: str | os.PathLike, split: str) -> CocoSplit:
    """Find a split by the usual names: COCO's own, or ``annotations/*SPLIT*.json`` with ``SPLIT`` or ``images``.

    Args:
        root: The data set's folder.
        split: ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        DatasetError: The folder, the annotation file or the images are missing, or there are several such files.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DatasetError(f'the data folder {root} does not exist. Name yours with --data DIR')
    ann_file = root / f'annotations/instances_{split}2017.json'
    if not ann_file.is_file():
        found = sorted([*root.glob(f'annotations/*{split}*.json'), *root.glob(f'*{split}*.json')])
        if len(found) != 1:
            what = ', '.join(str(path.relative_to(root)) for path in found) or 'none'
            raise DatasetError(
                f'{root} must have one annotation file for {split}, {ann_file.relative_to(root)} or '
                f'annotations/*{split}*.json; found: {what}. Name another one in the config: '
                f'{split}_dataloader.dataset.ann_file and data_prefix.img'
            )
        ann_file = found[0]
    name = first_image(ann_file)
    folders = [f'{split}2017', split, f'images/{split}2017', f'images/{split}', 'images', '.']
    for folder in folders:
        if (root / folder / name).is_file():
            return CocoSplit(ann_file, root / folder)
    raise DatasetError(
        f'{ann_file} names the image {name}, which is in none of {", ".join(folders)} under {root}. '
        f'Name its folder in the config: {split}_dataloader.dataset.data_prefix.img'
    )


def read_categories(ann_file: str | os.PathLike) -> dict[int, str]:
    """Read the categories of an annotation file, {id: name} in the file's order, which numbers the labels.

    Raises:
        DatasetError: The file is missing, cut short, of another format, or has an id or a name twice.
    """
    for value in _values(Path(ann_file), 'categories'):
        if isinstance(value, list) and all(isinstance(c, dict) and {'id', 'name'} <= c.keys() for c in value):
            break
    else:
        raise DatasetError(
            f'{ann_file} has no list of "categories" with id and name: it is cut short, or no annotation file for '
            'instances in COCO format'
        )
    for key in ('id', 'name'):
        twice = [name for name, count in Counter(c[key] for c in value).items() if count > 1]
        if twice:
            raise DatasetError(f'{ann_file} has two categories with the {key} {twice[0]!r}: give each its own')
    if not value:
        raise DatasetError(f'{ann_file} has an empty list of categories')
    return {category['id']: category['name'] for category in value}


def first_image(ann_file: str | os.PathLike) -> str:
    """Read the first ``file_name`` of an annotation file.

    Raises:
        DatasetError: The file is missing or names no image.
    """
    for value in _values(Path(ann_file), 'file_name'):
        if isinstance(value, str):
            return value
    raise DatasetError(f'{ann_file} names no image ("file_name"): it is no annotation file in COCO format')


def count_objects(ann_file: str | os.PathLike) -> tuple[int, Counter[int]]:
    """Count the images, and the objects of each category by its id, without loading the whole file."""
    with Path(ann_file).open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        objects = Counter(int(found[1]) for found in re.finditer(rb'"category_id"\s*:\s*(\d+)', data))
        return len(re.findall(rb'"file_name"\s*:', data)), objects


def check_coco_split(split: CocoSplit) -> dict[int, str]:
    """Check a split before anything is built, and return its categories.

    Raises:
        DatasetError: See :func:`read_categories`; or the first image is not in the folder of images.
    """
    categories = read_categories(split.ann_file)
    name = first_image(split.ann_file)
    if not (split.images / name).is_file():
        raise DatasetError(f'{split.ann_file} names the image {name}, which is not in {split.images}')
    return categories


def _values(path: Path, key: str) -> Iterator[Any]:
    """Decode the values of a key one by one, in the file's order, without reading the whole file (0.5 GB for COCO)."""
    if not path.is_file():
        raise DatasetError(f'the annotation file {path} does not exist. Name your data with --data DIR')
    if path.stat().st_size == 0:
        raise DatasetError(f'the annotation file {path} is empty: copy or make it again')
    decoder, name = json.JSONDecoder(), f'"{key}"'.encode()
    with path.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(name)
        while start >= 0:
            start, size = start + len(name), _FIRST_CHUNK
            while True:
                text = data[start : start + size].decode('utf-8', errors='ignore').lstrip(': \t\r\n')
                try:
                    yield decoder.raw_decode(text)[0]
                except json.JSONDecodeError:
                    if start + size < len(data):
                        size *= 4
                        continue
                break
            start = data.find(name, start)
