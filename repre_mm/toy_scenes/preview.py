"""Contact sheet of a toy scene set on disk."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from repre_mm.toy_scenes.objects import CLASSES
from repre_mm.toy_scenes.textures import STUFF

_COLUMNS = 6
_SCENE_ROWS = 4


def contact_sheet(root: str | os.PathLike[str], split: str = 'val') -> np.ndarray:
    """Draw a contact sheet of a set made by ``make_toy_scenes``.

    Args:
        root: The folder of the set.
        split: ``train`` or ``val``.

    Returns:
        RGB (H, W, 3) uint8: for each class some images and beside them the same with their part masks; below, scenes
        with their instances (``coco``) and with their label maps (``cityscapes``); each only if the set has it.
    """
    root = Path(root)
    sheets = []
    if (root / 'cls').is_dir():
        sheets.append(_portraits(root, split))
    if (root / 'coco').is_dir():
        annotations = root / 'coco/annotations' / f'instances_{split}2017.json'
        sheets.append(_grid(_annotated(annotations, root / 'coco' / f'{split}2017', _SCENE_ROWS * 3), 3))
    if (root / 'cityscapes').is_dir():
        sheets.append(_grid(_labelled(root / 'cityscapes', split), 3))
    width = max(sheet.shape[1] for sheet in sheets)
    padded = [cv2.copyMakeBorder(s, 0, 8, 0, width - s.shape[1], cv2.BORDER_CONSTANT) for s in sheets]
    return np.concatenate(padded)


def _portraits(root: Path, split: str) -> np.ndarray:
    folder = root / 'cls' / split
    annotations = root / 'parts/annotations' / f'parts_{split}.json'
    if annotations.is_file():
        # The images are listed class by class in turn.
        pictures = _annotated(annotations, folder, _COLUMNS * len(CLASSES))
        return np.concatenate([_grid(pictures[k :: len(CLASSES)], _COLUMNS) for k in range(len(CLASSES))])
    paths = [sorted((folder / name).iterdir())[:_COLUMNS] for name in CLASSES]
    return np.concatenate([_grid([_read(path) for path in row], _COLUMNS) for row in paths])


def _annotated(path: Path, folder: Path, count: int) -> list[np.ndarray]:
    """Draw the first ``count`` images of a COCO file, each with its masks beside it."""
    content = json.loads(path.read_text())
    pictures = []
    for image in content['images'][:count]:
        masks = [a['segmentation'] for a in content['annotations'] if a['image_id'] == image['id']]
        picture = _read(folder / image['file_name'])
        pictures.append(np.concatenate([picture, _overlay(picture, masks)], axis=1))
    return pictures


def _overlay(picture: np.ndarray, masks: list[dict[str, Any]]) -> np.ndarray:
    labels = np.zeros(picture.shape[:2], np.uint8)
    for k, mask in enumerate(masks, 1):
        labels[coco_mask.decode(mask).astype(bool)] = k
    return _tint(picture, labels, len(masks) + 1)


def _labelled(folder: Path, split: str) -> list[np.ndarray]:
    pictures = []
    for path in sorted((folder / 'gtFine' / split).rglob('*_labelTrainIds.png'))[: _SCENE_ROWS * 3]:
        stem = path.name.removesuffix('_gtFine_labelTrainIds.png')
        picture = _read(folder / 'leftImg8bit' / split / path.parent.name / f'{stem}_leftImg8bit.png')
        labels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        pictures.append(np.concatenate([picture, _tint(picture, labels, len(STUFF) + len(CLASSES))], axis=1))
    return pictures


def _tint(picture: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Colour pixels by label and darken those of label 0."""
    hues = np.linspace(0, 180, count, endpoint=False).astype(np.uint8)
    hsv = np.stack([hues, np.full(count, 170), np.full(count, 255)], axis=1).astype(np.uint8)
    palette = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]
    palette[0] = 0
    return cv2.addWeighted(picture, 0.4, palette[labels], 0.6, 0)


def _grid(pictures: list[np.ndarray], columns: int) -> np.ndarray:
    rows = [pictures[k : k + columns] for k in range(0, len(pictures), columns)]
    height, width = pictures[0].shape[:2]
    sheet = np.zeros((len(rows) * height, columns * width, 3), np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            sheet[i * height : (i + 1) * height, j * width : (j + 1) * width] = picture
    return sheet


def _read(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1]
