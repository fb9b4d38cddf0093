"""ADE20K with its parts (ADE20K_2021_17_01): one JSON file per image, one mask file per part."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from repre_mm.evaluation import EvaluationError
from repre_mm.studies.parts.data import NamedPart, Splits, checked_mask, labelled_splits


def read_ade20k(root: str | os.PathLike, min_masks: int = 1) -> Splits:
    """Read ``root/images/ADE/{training,validation}``: parts of objects, not parts of parts.

    Beside ``NAME.jpg`` lies ``NAME.json``, whose objects say what they are part of (``parts.ispartof``) and where their
    mask is (``instance_mask``; amodal: hidden pixels count). A part class is an object class with a part's name. The
    study segments 209 part classes of 59 objects that it chose itself; which, its code does not say, so all are taken
    that each split has at least ``min_masks`` masks of.

    Raises:
        EvaluationError: A folder or file is missing or damaged, or no class is left.
    """
    root = Path(root).expanduser()
    splits = {split: _read_split(root, folder) for split, folder in (('train', 'training'), ('val', 'validation'))}
    counts = [
        Counter((obj, part) for image in images.values() for obj, part, *_ in image) for images in splits.values()
    ]
    common = {key for key in counts[0] if all(count[key] >= min_masks for count in counts)}
    if not common:
        raise EvaluationError(f'{root}: no part class has {min_masks} masks in training and in validation images')
    return labelled_splits(root, splits, common, _mask)


def _read_split(root: Path, split: str) -> dict[Path, list[NamedPart]]:
    folder = root / 'images/ADE' / split
    files = sorted(folder.rglob('*.json'))
    if not files:
        raise EvaluationError(f'there is no NAME.json under {folder}: name the unpacked ADE20K_2021_17_01')
    bar = tqdm(files, desc=f'reading {split}', unit='image', delay=2)
    return {file.with_suffix('.jpg'): _parts(file) for file in bar}


def _parts(file: Path) -> list[NamedPart]:
    try:
        entries = json.loads(file.read_bytes().decode('utf-8', 'replace'))['annotation']['object']
        by_id = {entry['id']: entry for entry in entries}
        found = []
        for entry in entries:
            whole = by_id.get(_first(entry['parts']['ispartof'])) if entry['parts']['part_level'] == 1 else None
            if whole is not None:
                name, part = (_short(one['name']) for one in (whole, entry))
                found.append((name, part, whole['id'], file.parent / entry['instance_mask']))
        return found
    except (KeyError, TypeError, ValueError) as error:
        raise EvaluationError(f'{file} is not an annotation of ADE20K: {error!r}') from error


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value if not isinstance(value, list) else None


def _short(name: str) -> str:
    """``'car, auto, automobile'`` -> ``'car'``."""
    return name.split(',')[0].strip()


def _mask(path: Path, height: int, width: int) -> np.ndarray:
    try:
        with Image.open(path) as image:
            mask = np.array(image.convert('L'))
    except OSError as error:
        raise EvaluationError(f'the mask {path} cannot be read: {error}') from error
    return checked_mask(mask > 0, height, width, str(path))
