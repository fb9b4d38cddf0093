"""Part masks in COCO's format: polygons or run-length codes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from pycocotools import mask as coco_mask
from tqdm import tqdm

from repre_mm.datasets.reading import read_image
from repre_mm.studies.parts.data import PartData, Region, checked_mask, require_files
from repre_mm.utils.errors import UserError


def read_coco(path: str | os.PathLike, root: str | os.PathLike, *, all_classes: bool = True) -> PartData:
    """Read a COCO file and check it against its images, without crowds.

    Objects are the supercategories of the categories if there are several, else the folders of the images if there are
    several, else one class. COCO does not say which parts belong together, so the parts of one class of object in an
    image count as one object.

    Args:
        path: The JSON file.
        root: The folder of the images.
        all_classes: Every category must have a mask.

    Raises:
        UserError: The file is missing or no COCO, an image is missing or has another size, a mask is empty, or a class
            has no masks.
        repre_mm.datasets.ImageReadError: An image cannot be read.
    """
    path, root = Path(path).expanduser(), Path(root).expanduser()
    content = _read(path)
    if not root.is_dir():
        raise UserError(f'there is no folder of images {root}')
    per_image = _annotations(path, content, all_classes)
    images = [image for image in content['images'] if per_image[image['id']]]
    paths = [root / image['file_name'] for image in images]
    require_files(paths, str(path))

    categories = sorted(content['categories'], key=lambda category: category['id'])
    labels = {category['id']: label for label, category in enumerate(categories)}
    supers = [category.get('supercategory') or '' for category in categories]
    folders = sorted({image.parent.name for image in paths})
    if len(set(supers)) > 1:
        objects, objects_from = sorted(set(supers)), "the categories' supercategories"
    elif len(folders) > 1:
        objects, objects_from = folders, 'the folders of the images'
    else:
        objects, objects_from = [supers[0] or 'object'], None

    regions: list[list[Region]] = []
    for image, file in zip(images, paths, strict=True):
        regions.append([])
        for annotation in per_image[image['id']]:
            part = labels[annotation['category_id']]
            label = 0
            if objects_from is not None:
                label = objects.index(supers[part] if len(set(supers)) > 1 else file.parent.name)
            regions[-1].append(Region(part, label, label, (image, annotation)))

    def decode(shape: tuple[dict, dict], height: int, width: int) -> np.ndarray:
        return _mask(path, *shape, height, width)

    parts = tuple(category['name'] for category in categories)
    data = PartData(str(path), parts, tuple(objects), objects_from, paths, regions, decode)
    for index, image in enumerate(tqdm(paths, desc=f'checking {path.name}', unit='image', delay=2)):
        data.masks(index, *_upright_shape(image))
    return data


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f'there is no annotation file {path}') from None
    except ValueError as error:
        raise UserError(f'{path} is not a JSON file: {error}') from error
    keys = ('images', 'annotations', 'categories')
    missing = [key for key in keys if not isinstance(content, dict) or not content.get(key)]
    if missing:
        raise UserError(f'{path} is not a COCO annotation file: {" and ".join(missing)} missing or empty')
    return content


def _annotations(path: Path, content: dict[str, Any], all_classes: bool) -> dict[int, list[dict]]:
    """Image id -> its annotations, checked against the lists of images and categories."""
    names = {category['id']: category['name'] for category in content['categories']}
    per_image: dict[int, list[dict]] = {image['id']: [] for image in content['images']}
    for annotation in content['annotations']:
        problem = None
        if annotation['image_id'] not in per_image:
            problem = f'is of image {annotation["image_id"]}, which is not in the list of images'
        elif annotation['category_id'] not in names:
            problem = f'is of category {annotation["category_id"]}, which is not in the list of categories'
        elif not annotation.get('segmentation'):
            problem = 'has no mask (segmentation)'
        if problem:
            raise UserError(f'{path}: annotation {annotation.get("id")} {problem}')
        if not annotation.get('iscrowd'):
            per_image[annotation['image_id']].append(annotation)
    present = {annotation['category_id'] for annotations in per_image.values() for annotation in annotations}
    empty = [name for number, name in names.items() if number not in present]
    if empty and all_classes:
        raise UserError(
            f'{path}: {len(empty)} of its {len(names)} part classes have no annotation: {", ".join(empty)}. A class '
            'needs masks for training and for validation: annotate more images, or remove it from "categories"'
        )
    return per_image


def _mask(path: Path, image: dict, annotation: dict, height: int, width: int) -> np.ndarray:
    # Polygons have no size of their own: on a file of another size they would be elsewhere.
    if (image['height'], image['width']) != (height, width):
        raise UserError(
            f'{path}: {image["file_name"]} is {image["width"]} x {image["height"]} pixels there, the file is '
            f'{width} x {height}: the annotations are of another version of the images'
        )
    name = f'annotation {annotation.get("id")} of {image["file_name"]} in {path}'
    code = annotation['segmentation']
    try:
        if not isinstance(code, dict) or not isinstance(code['counts'], (str, bytes)):
            code = coco_mask.frPyObjects(code, height, width)
        mask = coco_mask.decode(coco_mask.merge(code) if isinstance(code, list) else code)
    except Exception as error:  # pycocotools raises bare ones too
        raise UserError(f'the mask of {name} is neither polygons nor a run-length code') from error
    return checked_mask(mask, height, width, name)


def _upright_shape(path: Path) -> tuple[int, int]:
    """Height and width as :func:`read_image` gives them, from the head of the file alone."""
    try:
        with Image.open(path) as image:
            on_its_side = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return image.size if on_its_side else image.size[::-1]
    except (OSError, Image.DecompressionBombError):
        return read_image(path).shape[:2]  # raises the error that names the file
