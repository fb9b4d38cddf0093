"""Pascal-Part: one MATLAB file per image of VOC 2010, with the masks of objects and of their parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from repre_mm.studies.parts.data import NamedPart, Splits, checked_mask, labelled_splits
from repre_mm.utils.errors import UserError


def read_pascal_part(root: Path) -> Splits:
    """Read VOC 2010 with Pascal-Part's ``Annotations_Part/*.mat`` beside ``JPEGImages`` and ``ImageSets/Main``.

    A part class is an object class with the data set's own name of the part (``'cat lear'``). The study segments 193 of
    them, but its code does not say which: all are taken that both splits have.

    Raises:
        UserError: A file is missing or not Pascal-Part's, or the splits have no class in common.
    """
    return labelled_splits(root, {split: _read_split(root, split) for split in ('train', 'val')}, _mask)


def _read_split(root: Path, split: str) -> dict[Path, list[NamedPart]]:
    """Image file -> its parts, each with its place in the MATLAB file."""
    listing = root / 'ImageSets/Main' / f'{split}.txt'
    if not listing.is_file() or not (root / 'Annotations_Part').is_dir():
        raise UserError(f'{root} is not VOC 2010 with Pascal-Part: it needs {listing} and Annotations_Part/')
    images = {}
    for name in tqdm(listing.read_text().split(), desc=f'reading {split}', unit='image', delay=2):
        path = root / 'Annotations_Part' / f'{name}.mat'
        if path.is_file():  # Pascal-Part leaves some images of VOC out
            images[root / 'JPEGImages' / f'{name}.jpg'] = [
                (obj['class'], part['part_name'], instance, (path, instance, number))
                for instance, obj in enumerate(_objects(path))
                for number, part in enumerate(_list(obj['parts']))
            ]
    return images


def _objects(path: Path) -> list[dict[str, Any]]:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UserError('the MATLAB files of Pascal-Part need scipy: pip install scipy') from None
    try:
        return _list(loadmat(path, simplify_cells=True)['anno']['objects'])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'{path} is not an annotation of Pascal-Part: {error}') from error


def _list(value: Any) -> list[dict[str, Any]]:
    # MATLAB does not distinguish one struct from a list of one; an empty list comes as an empty array.
    return [value] if isinstance(value, dict) else list(value)


def _mask(place: tuple[Path, int, int], height: int, width: int) -> np.ndarray:
    path, instance, number = place
    mask = _list(_objects(path)[instance]['parts'])[number]['mask']
    return checked_mask(mask, height, width, f'part {number + 1} of object {instance + 1} in {path}')
