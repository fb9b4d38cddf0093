"""Files of a scene: images, COCO annotations and label maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from repre_mm.toy_scenes.objects import CLASSES, PARTS
from repre_mm.toy_scenes.render import Scene
from repre_mm.toy_scenes.textures import STUFF

OBJECT_CATEGORIES: list[dict[str, Any]] = [
    {'id': k + 1, 'name': name, 'supercategory': 'object'} for k, name in enumerate(CLASSES)
]
PART_CATEGORIES: list[dict[str, Any]] = [
    {'id': k + 1, 'name': f'{name}:{part}', 'supercategory': name}
    for k, (name, part) in enumerate((name, part) for name in CLASSES for part in PARTS[name])
]
#: The class of each label of a label map.
TRAIN_IDS = (*STUFF, *CLASSES)
_OBJECT_IDS = {c['name']: c['id'] for c in OBJECT_CATEGORIES}
_PART_IDS = {c['name']: c['id'] for c in PART_CATEGORIES}


def write_image(path: Path, image: np.ndarray, quality: int | None = None) -> None:
    """Write an RGB (H, W, 3) or grey (H, W) uint8 image: PNG, or JPEG where ``quality`` (0..100) is given."""
    pixels = image[..., ::-1] if image.ndim == 3 else image
    suffix, options = ('.png', []) if quality is None else ('.jpg', [cv2.IMWRITE_JPEG_QUALITY, quality])
    _, data = cv2.imencode(suffix, pixels, options)
    path.write_bytes(data.tobytes())


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """Encode a mask (H, W) as COCO's compressed run lengths, as text for JSON."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {**rle, 'counts': rle['counts'].decode()}


def _annotation(mask: np.ndarray, category: int) -> dict[str, Any]:
    rle = encode_rle(mask)
    return {
        'category_id': category,
        'bbox': coco_mask.toBbox(rle).tolist(),
        'area': int(coco_mask.area(rle)),
        'segmentation': rle,
        'iscrowd': 0,
    }


def object_annotations(scene: Scene) -> list[dict[str, Any]]:
    """Make COCO annotations (without ids) of the visible part of each object."""
    masks = [scene.object_mask(k) for k in range(len(scene.objects))]
    return [_annotation(m, _OBJECT_IDS[n]) for m, n in zip(masks, scene.objects, strict=True) if m.any()]


def part_annotations(scene: Scene) -> list[dict[str, Any]]:
    """Make COCO annotations (without ids) of the visible part of each object part; hidden parts get none."""
    masks = [scene.part_mask(k) for k in range(len(scene.parts))]
    names = [f'{scene.objects[owner]}:{part}' for owner, part in scene.parts]
    return [_annotation(m, _PART_IDS[n]) for m, n in zip(masks, names, strict=True) if m.any()]


def label_map(scene: Scene) -> np.ndarray:
    """Make a map of semantic train ids (H, W) uint8, indices into :data:`TRAIN_IDS`."""
    ids = np.array([0, *(len(STUFF) + CLASSES.index(scene.objects[owner]) for owner, _ in scene.parts)])
    return np.where(scene.owner > 0, ids[scene.owner], scene.stuff).astype(np.uint8)


def write_coco(
    path: Path,
    images: list[dict[str, Any]],
    annotations: list[list[dict[str, Any]]],
    categories: list[dict[str, Any]],
) -> None:
    """Write a COCO annotation file; images and annotations are numbered from 1 in the order given.

    Args:
        path: The JSON file; its folder is made.
        images: ``file_name``, ``height`` and ``width`` of each image.
        annotations: The annotations of each image.
        categories: The COCO categories.
    """
    numbered = [{'id': k, **image} for k, image in enumerate(images, 1)]
    flat = [(k, annotation) for k, per_image in enumerate(annotations, 1) for annotation in per_image]
    content = {
        'info': {'description': 'toy scenes'},
        'images': numbered,
        'annotations': [{'id': n, 'image_id': k, **annotation} for n, (k, annotation) in enumerate(flat, 1)],
        'categories': categories,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, separators=(',', ':')))
