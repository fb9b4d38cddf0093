"""CUB-200-2011: keypoints of birds' parts, and patches around them as the part-aware study cuts them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from repre_mm.studies.parts.data import Box, PartData, Region, require_files
from repre_mm.utils.errors import UserError

#: The part classes of the study (``keypoint_cls_list`` of its ``patch_lincls.py`` and ``pr_patch_retrieval.py``).
PARTS = ('right eye', 'right leg', 'left wing', 'tail')


def read_cub(root: Path, split: str) -> PartData:
    """Read the unpacked ``CUB_200_2011``, its images for training (``'train'``) or its test images (``'val'``).

    A part is a square around a visible keypoint, see :func:`patch_boxes`; an object is a bird in its bounding box, its
    class the species.

    Raises:
        UserError: A file is missing, or no keypoint is visible.
    """
    names = {number: ' '.join(words) for number, *words in _lines(root, 'parts/parts.txt')}
    numbers = {number: PARTS.index(name) for number, name in names.items() if name in PARTS}
    species = dict(_lines(root, 'classes.txt'))
    objects = tuple(species[number] for number in sorted(species, key=int))
    labels = {image: int(number) - 1 for image, number in _lines(root, 'image_class_labels.txt')}
    splits = {image: 'train' if flag == '1' else 'val' for image, flag in _lines(root, 'train_test_split.txt')}
    birds = {image: tuple(map(float, box)) for image, *box in _lines(root, 'bounding_boxes.txt')}

    points: dict[str, list[tuple[int, float, float]]] = {}
    for image, number, x, y, visible in _lines(root, 'parts/part_locs.txt'):
        if visible == '1' and number in numbers and splits[image] == split:
            points.setdefault(image, []).append((numbers[number], float(x), float(y)))

    files = dict(_lines(root, 'images.txt'))
    paths, regions, boxes = [], [], []
    for image, found in points.items():
        squares = patch_boxes([(x, y) for _, x, y in found])
        parts = zip((part for part, _, _ in found), squares, strict=True)
        kept = [Region(part, labels[image], 0, box) for part, box in parts if box is not None]
        if kept:
            left, top, width, height = birds[image]
            paths.append(root / 'images' / files[image])
            regions.append(kept)
            boxes.append({0: (round(left), round(top), round(left + width), round(top + height))})
    if not paths:
        raise UserError(f'{root} has no visible keypoint of {", ".join(PARTS)} in its {split} images')
    require_files(paths, str(root))
    return PartData(f'{root} ({split})', PARTS, objects, 'the species', paths, regions, None, boxes)


def patch_boxes(points: Sequence[tuple[float, float]]) -> list[Box | None]:
    """Squares around the keypoints of one image, as the study cuts them (``moco/loader.py``).

    The side is half the distance to the nearest other keypoint, rounded to whole pixels on each side of the centre, so
    that squares do not overlap. A keypoint whose half distance is not between 20 and 1000 pixels gets none; nor does a
    single one.
    """
    places = np.array(points, dtype=float)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    distances[distances == 0] = np.inf
    halves = distances.min(axis=1) / 2
    boxes: list[Box | None] = []
    for (x, y), half in zip(points, halves, strict=True):
        reach = round(half / 2) if 20 < half < 1000 else None
        # Pillow, with which the study crops, rounds the corners of a box.
        boxes.append(reach and (round(x - reach), round(y - reach), round(x + reach), round(y + reach)))
    return boxes


def _lines(root: Path, name: str) -> list[list[str]]:
    try:
        return [line.split() for line in (root / name).read_text().splitlines() if line.strip()]
    except FileNotFoundError:
        raise UserError(f'{root / name} is missing: name the unpacked folder CUB_200_2011') from None
