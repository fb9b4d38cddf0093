"""COCO part annotations, as the images, shares of cells and label maps that a part-level evaluation needs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image
from pycocotools import mask as coco_mask
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from repre_mm.datasets.reading import read_image
from repre_mm.evaluation.protocol import EvaluationError

#: What the object of an image is taken from, see :class:`PartAnnotations`.
OBJECTS = ('supercategory', 'folder')


@dataclass(frozen=True)
class PartAnnotations:
    """Part masks of a set of images.

    Attributes:
        path: The JSON file.
        root: The folder of the images.
        parts: Names of the part classes, by their category ids.
        objects: Names of the object classes; one name where the file does not tell several apart.
        objects_from: ``'supercategory'`` of the categories where there are two or more of them, else the ``'folder'``
            of the file names where there are two or more of these; None: the parts are of one kind of object.
        images: COCO's image entries that have parts.
        annotations: Per image its COCO annotations, with ``part`` and ``object`` labels from 0.
    """

    path: Path
    root: Path
    parts: tuple[str, ...]
    objects: tuple[str, ...]
    objects_from: str | None
    images: list[dict[str, Any]]
    annotations: list[list[dict[str, Any]]]

    @classmethod
    def read(cls, path: str | os.PathLike, root: str | os.PathLike) -> PartAnnotations:
        """Read a COCO file (polygons or run-length codes) and check it against its images. Crowds are left out.

        Raises:
            EvaluationError: No such file or folder, no COCO, images that are not there, unreadable or of another size,
                an empty mask, or a class without masks.
        """
        path, root = Path(path).expanduser(), Path(root).expanduser()
        content = _read_coco(path)
        if not root.is_dir():
            raise EvaluationError(f'there is no folder of images {root}')
        per_image: dict[int, list[dict]] = {image['id']: [] for image in content['images']}
        for annotation in content['annotations']:
            if annotation['image_id'] not in per_image:
                raise EvaluationError(
                    f'{path}: annotation {annotation.get("id")} is of image {annotation["image_id"]}, which is not in '
                    'its list of images'
                )
            if not annotation.get('segmentation'):
                raise EvaluationError(f'{path}: annotation {annotation.get("id")} has no mask (segmentation)')
            if not annotation.get('iscrowd'):
                per_image[annotation['image_id']].append(annotation)
        images = [image for image in content['images'] if per_image[image['id']]]
        _check_files(path, root, images)

        categories = sorted(content['categories'], key=lambda category: category['id'])
        labels = {category['id']: label for label, category in enumerate(categories)}
        _check_classes(path, categories, per_image)
        supers = [category.get('supercategory') or '' for category in categories]
        folders = {image['id']: Path(image['file_name']).parent.name for image in images}
        if len(set(supers)) > 1:
            objects, objects_from = sorted(set(supers)), OBJECTS[0]
        elif len(set(folders.values())) > 1:
            objects, objects_from = sorted(set(folders.values())), OBJECTS[1]
        else:
            objects, objects_from = [supers[0] or 'object'], None

        def labelled(annotation: dict) -> dict:
            part = labels[annotation['category_id']]
            name = {OBJECTS[0]: supers[part], OBJECTS[1]: folders[annotation['image_id']]}.get(objects_from, objects[0])
            return {**annotation, 'part': part, 'object': objects.index(name)}

        annotations = [[labelled(annotation) for annotation in per_image[image['id']]] for image in images]
        parts = tuple(category['name'] for category in categories)
        found = cls(path, root, parts, tuple(objects), objects_from, images, annotations)
        bar = tqdm(images, desc=f'checking {path.name}', unit='image', delay=2)
        for index, image in enumerate(bar):
            found.masks(index, *_upright_shape(root / image['file_name']))
        return found

    def masks(self, index: int, height: int, width: int) -> np.ndarray:
        """The masks of one image, (R, height, width) bool, at the size of its file.

        Raises:
            EvaluationError: A mask is empty, of another size, or no COCO mask.
        """
        image = self.images[index]
        # Polygons know no size but the list's: on a file of another size they would lie elsewhere.
        if (image['height'], image['width']) != (height, width):
            raise EvaluationError(
                f'{self.path}: {image["file_name"]} is {image["width"]} x {image["height"]} pixels there, the file is '
                f'{width} x {height}: the annotations are of another version of the images'
            )
        masks = []
        for annotation in self.annotations[index]:
            mask, name = _decode(annotation['segmentation'], height, width), f'annotation {annotation.get("id")}'
            if mask is None:
                raise EvaluationError(f'{self.path}: the mask of {name} is neither polygons nor a run-length code')
            if mask.shape != (height, width):
                raise EvaluationError(
                    f'{self.path}: the mask of {name} has {mask.shape[1]} x {mask.shape[0]} pixels, its image '
                    f'{image["file_name"]} {width} x {height}'
                )
            if not mask.any():
                raise EvaluationError(f'{self.path}: the mask of {name} is empty: remove it')
            masks.append(mask)
        return np.stack(masks)


class PartImages(Dataset):
    """Annotated images, squeezed to a square as a whole so that no part is lost, with their masks on a grid of cells.

    An item holds ``image`` (3, S, S) uint8 RGB; per part annotation ``part_shares`` (R, h, w), the share of each cell
    that its mask covers, and ``part_labels`` (R,); the same for the objects (the union of an image's parts of one
    object class), ``object_shares`` and ``object_labels``; and the maps ``part_map`` and ``object_map``, (H, W) int64
    at the size of the file: 0 is background, then label + 1. Where parts overlap, the smaller one is on top.

    Args:
        annotations: What to read.
        size: S, in pixels.
        grid: (h, w), the cells of the encoder's last map.
    """

    def __init__(self, annotations: PartAnnotations, size: int, grid: tuple[int, int]) -> None:
        self.annotations, self.size, self.grid = annotations, size, grid

    def __len__(self) -> int:
        return len(self.annotations.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels = read_image(self.annotations.root / self.annotations.images[index]['file_name'])
        masks = self.annotations.masks(index, *pixels.shape[:2])
        parts, objects = (
            np.array([annotation[kind] for annotation in self.annotations.annotations[index]])
            for kind in ('part', 'object')
        )
        present = np.unique(objects)
        unions = np.stack([masks[objects == label].any(axis=0) for label in present])
        part_map, object_map = np.zeros(pixels.shape[:2], np.int64), np.zeros(pixels.shape[:2], np.int64)
        for i in np.argsort(-masks.sum(axis=(1, 2)), kind='stable'):
            part_map[masks[i]], object_map[masks[i]] = parts[i] + 1, objects[i] + 1
        return {
            'image': squeezed(pixels, self.size),
            'part_shares': cell_shares(torch.from_numpy(masks), self.grid),
            'part_labels': torch.from_numpy(parts),
            'object_shares': cell_shares(torch.from_numpy(unions), self.grid),
            'object_labels': torch.from_numpy(present),
            'part_map': torch.from_numpy(part_map),
            'object_map': torch.from_numpy(object_map),
        }


def squeezed(pixels: np.ndarray, size: int) -> Tensor:
    """(H, W, 3) uint8 -> (3, size, size) uint8: the whole image, bicubic, filtered before it shrinks."""
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float()
    image = F.interpolate(image, (size, size), mode='bicubic', antialias=True)
    return image[0].round().clamp(0, 255).to(torch.uint8)


def cell_shares(masks: Iterable[Tensor], grid: tuple[int, int]) -> Tensor:
    """The share of each cell that is covered: R times (H, W) bool -> (R, h, w), in the memory of one mask."""
    return torch.cat([F.adaptive_avg_pool2d(mask.float()[None], grid) for mask in masks])


def label_shares(labels: Tensor, count: int, grid: tuple[int, int]) -> Tensor:
    """The share of each cell that each label has: (H, W) in [0, count) -> (count, h, w); they sum to 1 per cell."""
    return cell_shares((labels == label for label in range(count)), grid)


def _read_coco(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise EvaluationError(f'there is no annotation file {path}') from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise EvaluationError(f'{path} is no JSON file: {error}') from error
    keys = ('images', 'annotations', 'categories')
    missing = [key for key in keys if not isinstance(content, dict) or not content.get(key)]
    if missing:
        raise EvaluationError(f'{path} is no COCO annotation file: {" and ".join(missing)} missing or empty')
    return content


def _check_files(path: Path, root: Path, images: Sequence[dict]) -> None:
    missing = [image['file_name'] for image in images if not (root / image['file_name']).is_file()]
    if missing:
        more = f' and {len(missing) - 5} more' if len(missing) > 5 else ''
        raise EvaluationError(
            f'{path} is for other images: {len(missing)} of its {len(images)} files are not in {root}: '
            f'{", ".join(missing[:5])}{more}'
        )


def _check_classes(path: Path, categories: list[dict], per_image: dict[int, list[dict]]) -> None:
    present = {annotation['category_id'] for annotations in per_image.values() for annotation in annotations}
    unknown = present - {category['id'] for category in categories}
    if unknown:
        raise EvaluationError(f'{path}: annotations of categories that are not in its list: {sorted(unknown)}')
    empty = [category['name'] for category in categories if category['id'] not in present]
    if empty:
        raise EvaluationError(
            f'{path}: no annotation of {len(empty)} of its {len(categories)} part classes: {", ".join(empty)}. A class '
            'needs masks for training and for validation: annotate more images, or take it out of "categories"'
        )


def _upright_shape(path: Path) -> tuple[int, int]:
    """Height and width as :func:`read_image` will give them, from the head of the file alone."""
    try:
        with Image.open(path) as image:
            on_its_side = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return image.size if on_its_side else image.size[::-1]
    except (OSError, Image.DecompressionBombError):
        return read_image(path).shape[:2]  # says what is wrong with it


def _decode(segmentation: list | dict, height: int, width: int) -> np.ndarray | None:
    """Polygons or a run-length code, compressed or not, as (height, width) bool; None if it is neither."""
    try:
        if isinstance(segmentation, dict) and isinstance(segmentation['counts'], (str, bytes)):
            code = segmentation
        else:
            code = coco_mask.frPyObjects(segmentation, height, width)
        return coco_mask.decode(coco_mask.merge(code) if isinstance(code, list) else code).astype(bool)
    except Exception:  # pycocotools raises bare ones too
        return None
