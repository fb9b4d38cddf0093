"""ADE20K with its parts (ADE20K_2021_17_01): one JSON file per image, one mask file per part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from repre_mm.studies.parts.data import NamedPart, Splits, checked_mask, labelled_splits
from repre_mm.utils.errors import UserError


def read_ade20k(root: Path) -> Splits:
    """Read ``root/images/ADE/{training,validation}``: parts of objects, not parts of parts.

    Beside ``NAME.jpg`` is ``NAME.json``, whose objects say what they are part of (``parts.ispartof``) and where their
    mask is (``instance_mask``; amodal: hidden pixels count). A part class is an object class with a part's name. The
    study segments 209 part classes of 59 objects, but its code does not say which: all are taken that both splits have.

    Raises:
        UserError: A folder or file is missing or damaged, or the splits have no class in common.
    """
    splits = {split: _read_split(root, folder) for split, folder in (('train', 'training'), ('val', 'validation'))}
    return labelled_splits(root, splits, _mask)


def _read_split(root: Path, split: str) -> dict[Path, list[NamedPart]]:
    folder = root / 'images/ADE' / split
    files = sorted(folder.rglob('*.json'))
    if not files:
        raise UserError(f'there is no NAME.json under {folder}: name the unpacked ADE20K_2021_17_01')
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
                mask = file.parent / entry['instance_mask']
                found.append((_short(whole['name']), _short(entry['name']), whole['id'], mask))
        return found
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'{file} is not an annotation of ADE20K: {error!r}') from error


def _first(value: Any) -> Any:
    """``ispartof`` is a number, a list of numbers, or an empty list."""
    if isinstance(value, list):
        return value[0] if value else None
    return value


def _short(name: str) -> str:
    """``'car, auto, automobile'`` -> ``'car'``."""
    return name.split(',')[0].strip()


def _mask(path: Path, height: int, width: int) -> np.ndarray:
    try:
        with Image.open(path) as image:
            mask = np.array(image.convert('L'))
    except OSError as error:
        raise UserError(f'the mask {path} cannot be read: {error}') from error
    return checked_mask(mask > 0, height, width, str(path))
