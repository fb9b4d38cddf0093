"""CUB-200-2011: keypoints of birds' parts, and patches around them as the part-aware study cuts them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from repre_mm.evaluation import EvaluationError
from repre_mm.studies.parts.data import Box, PartData, Region, require_files

#: The part classes of the study (``keypoint_cls_list`` of its ``patch_lincls.py`` and ``pr_patch_retrieval.py``).
STUDY_PARTS = ('right eye', 'right leg', 'left wing', 'tail')


def read_cub(root: str | os.PathLike, split: str, parts: Sequence[str] = STUDY_PARTS) -> PartData:
    """Read ``root`` (``images.txt``, ``parts/part_locs.txt``, ``train_test_split.txt``, ...) of CUB-200-2011.

    A part is a square about a visible keypoint, see :func:`patch_boxes`; an object is a bird in its bounding box, its
    class the species.

    Args:
        root: The unpacked ``CUB_200_2011``.
        split: ``'train'``, ``'val'`` (the data set's test images) or ``'all'``.
        parts: Names of part classes in ``parts/parts.txt``.

    Raises:
        EvaluationError: A file is missing, or a part class has no such name.
    """
    root = Path(root).expanduser()
    names = {number: ' '.join(words) for number, *words in _lines(root / 'parts/parts.txt')}
    unknown = set(parts) - set(names.values())
    if unknown:
        raise EvaluationError(f'{root / "parts/parts.txt"} has no part {", ".join(sorted(unknown))}')
    wanted = {number: list(parts).index(name) for number, name in names.items() if name in parts}
    species = dict(_lines(root / 'classes.txt'))
    objects = tuple(species[number] for number in sorted(species, key=int))
    labels = {image: int(number) - 1 for image, number in _lines(root / 'image_class_labels.txt')}
    in_training = {image: flag == '1' for image, flag in _lines(root / 'train_test_split.txt')}
    birds = {image: tuple(map(float, box)) for image, *box in _lines(root / 'bounding_boxes.txt')}

    points: dict[str, list[tuple[int, float, float]]] = {}
    for image, number, x, y, visible in _lines(root / 'parts/part_locs.txt'):
        if visible == '1' and number in wanted and split in ('all', 'train' if in_training[image] else 'val'):
            points.setdefault(image, []).append((wanted[number], float(x), float(y)))

    files = dict(_lines(root / 'images.txt'))
    paths, regions, boxes = [], [], []
    for image, found in points.items():
        squares = patch_boxes([(x, y) for _, x, y in found])
        kept = [
            Region(part, labels[image], 0, box)
            for (part, _, _), box in zip(found, squares, strict=True)
            if box is not None
        ]
        if kept:
            left, top, width, height = birds[image]
            paths.append(root / 'images' / files[image])
            regions.append(kept)
            boxes.append({0: (round(left), round(top), round(left + width), round(top + height))})
    if not paths:
        raise EvaluationError(f'{root} has no visible keypoint of {", ".join(parts)} in its {split} images')
    require_files(paths, str(root))
    return PartData(f'{root} ({split})', tuple(parts), objects, 'the species', paths, regions, None, boxes)


def patch_boxes(points: Sequence[tuple[float, float]]) -> list[Box | None]:
    """Squares around keypoints of one image, as the study cuts them (``moco/loader.py``).

    The side is half the distance to the nearest other keypoint, rounded to whole pixels on each side of the centre, so
    that squares do not overlap. A keypoint whose half distance is not between 20 and 1000 pixels gets none; nor does
    one that is alone, whose distance is unknown.
    """
    places = np.array(points, dtype=float)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    distances[distances == 0] = np.inf
    halves = distances.min(axis=1) / 2
    boxes: list[Box | None] = []
    for (x, y), half in zip(points, halves, strict=True):
        reach = round(half / 2) if 20 < half < 1000 else None
        # Pillow, by which the study crops, rounds the corners of a box.
        boxes.append(reach and (round(x - reach), round(y - reach), round(x + reach), round(y + reach)))
    return boxes


def _lines(path: Path) -> list[list[str]]:
    try:
        return [line.split() for line in path.read_text().splitlines() if line.strip()]
    except FileNotFoundError:
        raise EvaluationError(f'{path} is missing: name the unpacked folder CUB_200_2011') from None
