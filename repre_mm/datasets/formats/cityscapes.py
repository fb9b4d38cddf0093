"""Files and classes of data sets laid out as Cityscapes: ``{leftImg8bit,gtFine}/{train,val}/<city>/``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from repre_mm.datasets.listing import DatasetError

LABEL_SUFFIX = '_gtFine_labelTrainIds.png'
IGNORED = 255
_STEM = '_leftImg8bit'
_CHECKED_LABEL_MAPS = 20


@dataclass(frozen=True)
class CityscapesSplit:
    """One split: images, their label maps in the same order, and the end of the images' names."""

    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    image_suffix: str


def find_cityscapes_split(root: str | os.PathLike, split: str) -> CityscapesSplit:
    """List a split and check that every image has its label map.

    Args:
        root: Holds ``leftImg8bit`` and ``gtFine``.
        split: ``'train'`` or ``'val'``.

    Raises:
        DatasetError: A folder or a label map is missing, there are no images, or images of two formats.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DatasetError(f'the data folder {root} does not exist. Name yours with --data DIR')
    folders = [root / name / split for name in ('leftImg8bit', 'gtFine')]
    for folder in folders:
        if not folder.is_dir():
            raise DatasetError(
                f'there is no folder {folder}: the data must be laid out as {root}/{{leftImg8bit,gtFine}}/'
                f'{{train,val}}/<city>/, with *{_STEM}.png or .jpg and *{LABEL_SUFFIX}'
            )
    images = sorted(path for path in folders[0].rglob(f'*{_STEM}.*') if path.suffix in ('.png', '.jpg', '.jpeg'))
    suffixes = sorted({path.suffix for path in images})
    if len(suffixes) != 1:
        found = f'both {" and ".join(suffixes)}' if suffixes else 'none'
        raise DatasetError(f'{folders[0]} must hold images *{_STEM}.png or *{_STEM}.jpg; found: {found}')
    image_suffix = _STEM + suffixes[0]
    names = [str(path.relative_to(folders[0])).removesuffix(image_suffix) for path in images]
    labels = [folders[1] / (name + LABEL_SUFFIX) for name in names]
    missing = [path for path in labels if not path.is_file()]
    if missing:
        raise DatasetError(
            f'{len(missing)} of {len(images)} images have no label map; the first missing one is {missing[0]}. '
            "Cityscapes' own are made by csCreateTrainIdLabelImgs of cityscapesscripts"
        )
    return CityscapesSplit(tuple(images), tuple(labels), image_suffix)


def is_cityscapes(root: str | os.PathLike) -> bool:
    """Whether a folder holds Cityscapes itself, recognised by two of its cities."""
    return all((Path(root) / 'gtFine' / city).is_dir() for city in ('train/aachen', 'val/frankfurt'))


def find_classes(root: str | os.PathLike, given: Sequence[str] | None = None) -> tuple[list[str], list[list[int]]]:
    """Find the classes of a data set: those given, else from its file of classes, else counted in its label maps.

    Args:
        root: The data set; may hold ``classes.json`` or ``classes.txt``. Without them the labels in the label maps of
            every split are counted, so that training and testing agree.
        given: Names; or one word, which is a number of classes or a file of them.

    Returns:
        Names in the order of the labels, and their colours (R, G, B), empty if unknown.

    Raises:
        DatasetError: A file of classes is missing or cannot be used, or the label maps hold no label.
    """
    if given and not (len(given) == 1 and (given[0].isdigit() or Path(given[0]).suffix in ('.json', '.txt'))):
        if len(set(given)) < len(given):
            raise DatasetError(f'--classes {" ".join(given)}: name none of them twice')
        return list(given), []
    if given and given[0].isdigit():
        return _numbered(int(given[0])), []
    files = [Path(given[0])] if given else [Path(root) / 'classes.json', Path(root) / 'classes.txt']
    if given and not files[0].is_file():
        raise DatasetError(f'--classes {files[0]}: there is no such file')
    for path in files:
        if path.is_file():
            return _read_classes(path)
    return _numbered(count_labels(sorted((Path(root) / 'gtFine').rglob(f'*{LABEL_SUFFIX}')))), []


def count_labels(paths: Sequence[Path]) -> int:
    """Count the classes in label maps: one more than the highest label in any of them.

    Raises:
        DatasetError: There is no label but the ignored one.
    """
    bar = tqdm(paths, desc='counting the classes in the label maps', unit='map')
    highest = max((label for path in bar for label in _labels(path)), default=-1)
    if highest < 0:
        raise DatasetError(f'the label maps hold no label but {IGNORED}, the first is {paths[0]}')
    return highest + 1


def check_labels(split: CityscapesSplit, num_classes: int) -> None:
    """Check the labels in some label maps of a split.

    Raises:
        DatasetError: One has a label that is no class and not the ignored one, or is no label map.
    """
    step = max(1, len(split.labels) // _CHECKED_LABEL_MAPS)
    for path in split.labels[::step]:
        highest = max(_labels(path), default=0)
        if highest >= num_classes:
            raise DatasetError(
                f'{path} has the label {highest}, but there are {num_classes} classes (0 to {num_classes - 1}, and '
                f'{IGNORED} to ignore). Name the classes with --classes, or write train ids into the label maps'
            )


def _labels(path: Path) -> list[int]:
    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
    except Exception as error:  # Pillow's decoders raise errors of any class on damaged bytes
        raise DatasetError(f'the label map {path} cannot be read ({error}): copy or make it again') from error
    if labels.ndim != 2:
        raise DatasetError(f'{path} must hold one label per pixel, but has {labels.shape[2]} channels: colours?')
    return [int(label) for label in np.unique(labels) if label != IGNORED]


def _numbered(count: int) -> list[str]:
    if count < 1:
        raise DatasetError(f'--classes {count}: there must be one class at least')
    return [f'class {i}' for i in range(count)]


def _read_classes(path: Path) -> tuple[list[str], list[list[int]]]:
    """Read a text file of names, one per line; or JSON: a list, or one under "classes", of names or of dicts."""
    if path.suffix != '.json':
        names = [line.strip() for line in path.read_text().splitlines() if line.strip()]
        return _checked(path, names), []
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise DatasetError(f'{path} is no JSON: {error}. Fix it, or name the classes with --classes') from error
    entries: Any = content.get('classes') if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise DatasetError(f'{path} must hold a list of classes, or one under "classes"')
    if all(isinstance(entry, str) for entry in entries):
        return _checked(path, entries), []
    if not all(isinstance(entry, dict) and {'name', 'trainId'} <= entry.keys() for entry in entries):
        raise DatasetError(f'{path}: every class must be a name, or have "name" and "trainId"')
    entries = sorted((entry for entry in entries if entry['trainId'] not in (-1, IGNORED)), key=lambda e: e['trainId'])
    if [entry['trainId'] for entry in entries] != list(range(len(entries))):
        raise DatasetError(f'{path}: the trainIds must be 0 to {len(entries) - 1}, each once')
    colours = [list(entry['color']) for entry in entries if 'color' in entry]
    return _checked(path, [entry['name'] for entry in entries]), colours if len(colours) == len(entries) else []


def _checked(path: Path, names: list[str]) -> list[str]:
    if not names or len(set(names)) < len(names):
        raise DatasetError(f'{path} must name one class at least, and none of them twice')
    return names
