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
from repre_mm.evaluation import EvaluationError
from repre_mm.studies.parts.data import PartData, Region, checked_mask, require_files


def read_coco(path: str | os.PathLike, root: str | os.PathLike, *, all_classes: bool = True) -> PartData:
    """Read a COCO file and check it against its images. Crowds are left out.

    Objects are the supercategories of the categories where there are two or more of them, else the folders of the file
    names where there are two or more of these, else there is one class of object. The parts of one class of object in
    an image count as one object, since COCO does not say which parts belong together.

    Args:
        path: The JSON file.
        root: The folder of the images.
        all_classes: Every category must have a mask.

    Raises:
        EvaluationError: No such file or folder, no COCO, images that are missing or of another size, an empty mask, or
            a class without masks.
        repre_mm.datasets.ImageReadError: An image cannot be read.
    """
    path, root = Path(path).expanduser(), Path(root).expanduser()
    content = _read(path)
    if not root.is_dir():
        raise EvaluationError(f'there is no folder of images {root}')
    per_image = _annotations(path, content)
    images = [image for image in content['images'] if per_image[image['id']]]
    require_files([root / image['file_name'] for image in images], str(path))

    categories = sorted(content['categories'], key=lambda category: category['id'])
    labels = {category['id']: label for label, category in enumerate(categories)}
    _check_classes(path, categories, per_image, all_classes)
    supers = [category.get('supercategory') or '' for category in categories]
    folders = {image['id']: Path(image['file_name']).parent.name for image in images}
    if len(set(supers)) > 1:
        objects, objects_from = sorted(set(supers)), "the categories' supercategories"
    elif len(set(folders.values())) > 1:
        objects, objects_from = sorted(set(folders.values())), 'the folders of the images'
    else:
        objects, objects_from = [supers[0] or 'object'], None

    def region(image: dict, annotation: dict) -> Region:
        part = labels[annotation['category_id']]
        name = supers[part] if len(set(supers)) > 1 else folders[image['id']] if objects_from else objects[0]
        label = objects.index(name)
        return Region(part, label, label, (image, annotation))

    def decode(shape: tuple[dict, dict], height: int, width: int) -> np.ndarray:
        return _mask(path, *shape, height, width)

    regions = [[region(image, annotation) for annotation in per_image[image['id']]] for image in images]
    parts = tuple(category['name'] for category in categories)
    paths = [root / image['file_name'] for image in images]
    data = PartData(str(path), parts, tuple(objects), objects_from, paths, regions, decode)
    for index, image in enumerate(tqdm(paths, desc=f'checking {path.name}', unit='image', delay=2)):
        data.masks(index, *_upright_shape(image))
    return data


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise EvaluationError(f'there is no annotation file {path}') from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise EvaluationError(f'{path} is not a JSON file: {error}') from error
    keys = ('images', 'annotations', 'categories')
    missing = [key for key in keys if not isinstance(content, dict) or not content.get(key)]
    if missing:
        raise EvaluationError(f'{path} is not a COCO annotation file: {" and ".join(missing)} missing or empty')
    return content


def _annotations(path: Path, content: dict[str, Any]) -> dict[int, list[dict]]:
    """Image id -> its annotations."""
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
    return per_image


def _check_classes(path: Path, categories: list[dict], per_image: dict[int, list[dict]], all_classes: bool) -> None:
    present = {annotation['category_id'] for annotations in per_image.values() for annotation in annotations}
    unknown = present - {category['id'] for category in categories}
    if unknown:
        raise EvaluationError(f'{path}: annotations of categories that are not in its list: {sorted(unknown)}')
    empty = [category['name'] for category in categories if category['id'] not in present]
    if empty and all_classes:
        raise EvaluationError(
            f'{path}: no annotation of {len(empty)} of its {len(categories)} part classes: {", ".join(empty)}. A class '
            'needs masks for training and for validation: annotate more images, or take it out of "categories"'
        )


def _mask(path: Path, image: dict, annotation: dict, height: int, width: int) -> np.ndarray:
    # Polygons carry no size: on a file of another size they would lie elsewhere.
    if (image['height'], image['width']) != (height, width):
        raise EvaluationError(
            f'{path}: {image["file_name"]} is {image["width"]} x {image["height"]} pixels there, the file is '
            f'{width} x {height}: the annotations are of another version of the images'
        )
    name = f'annotation {annotation.get("id")} of {image["file_name"]} in {path}'
    mask = _decode(annotation['segmentation'], height, width)
    if mask is None:
        raise EvaluationError(f'the mask of {name} is neither polygons nor a run-length code')
    return checked_mask(mask, height, width, name)


def _decode(segmentation: list | dict, height: int, width: int) -> np.ndarray | None:
    """Polygons or a run-length code, compressed or not, as (height, width); None if it is neither."""
    try:
        if isinstance(segmentation, dict) and isinstance(segmentation['counts'], (str, bytes)):
            code = segmentation
        else:
            code = coco_mask.frPyObjects(segmentation, height, width)
        return coco_mask.decode(coco_mask.merge(code) if isinstance(code, list) else code)
    except Exception:  # pycocotools raises bare ones too
        return None


def _upright_shape(path: Path) -> tuple[int, int]:
    """Height and width as :func:`read_image` will give them, from the head of the file alone."""
    try:
        with Image.open(path) as image:
            on_its_side = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return image.size if on_its_side else image.size[::-1]
    except (OSError, Image.DecompressionBombError):
        return read_image(path).shape[:2]  # says what is wrong with it
