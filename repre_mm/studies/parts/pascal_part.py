"""Pascal-Part: one MATLAB file per image of VOC 2010, with the masks of objects and of their parts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from repre_mm.evaluation import EvaluationError
from repre_mm.studies.parts.data import NamedPart, Splits, checked_mask, labelled_splits


def read_pascal_part(root: str | os.PathLike) -> Splits:
    """Read both splits of ``root``: VOC 2010 with ``Annotations_Part/`` of Pascal-Part in it.

    Files: ``JPEGImages/*.jpg``, ``Annotations_Part/*.mat``, ``ImageSets/Main/{train,val}.txt``. A part class is an
    object class with the data set's own name of the part (``'cat lear'``). The study segments 193 such classes; which,
    its code does not say, so all are taken that both splits have.

    Raises:
        EvaluationError: A file is missing, or not what Pascal-Part's files are.
    """
    root = Path(root).expanduser()
    splits = {split: _read_split(root, split) for split in ('train', 'val')}
    found = [{(obj, part) for image in images.values() for obj, part, *_ in image} for images in splits.values()]
    common = set.intersection(*found)
    if not common:
        raise EvaluationError(f'{root}: the training and validation images have no part class in common')
    return labelled_splits(root, splits, common, _mask)


def _read_split(root: Path, split: str) -> dict[Path, list[NamedPart]]:
    """Image file -> its parts, each with its place in the MATLAB file."""
    listing = root / 'ImageSets/Main' / f'{split}.txt'
    if not listing.is_file() or not (root / 'Annotations_Part').is_dir():
        raise EvaluationError(f'{root} is not VOC 2010 with Pascal-Part: it needs {listing} and Annotations_Part/')
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
        raise EvaluationError('the MATLAB files of Pascal-Part are read by scipy: pip install scipy') from None
    try:
        return _list(loadmat(path, simplify_cells=True)['anno']['objects'])
    except (KeyError, TypeError, ValueError) as error:
        raise EvaluationError(f'{path} is not an annotation of Pascal-Part: {error}') from error


def _list(value: Any) -> list[dict[str, Any]]:
    # MATLAB makes no difference between one struct and a list of one; an empty list comes as an empty array.
    return [value] if isinstance(value, dict) else list(value)


def _mask(place: tuple[Path, int, int], height: int, width: int) -> np.ndarray:
    path, instance, number = place
    mask = _list(_objects(path)[instance]['parts'])[number]['mask']
    return checked_mask(mask, height, width, f'part {number + 1} of object {instance + 1} in {path}')
