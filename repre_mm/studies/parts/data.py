"""Images with annotated parts: the one interface of all data sets of the study, and what evaluations take from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from repre_mm.datasets.reading import read_image
from repre_mm.utils.errors import UserError

#: Left, top, right, bottom in pixels; may reach beyond the image.
Box = tuple[int, int, int, int]
#: Training and validation images of a data set.
Splits = tuple['PartData', 'PartData']
#: A part as a file names it: object class, the part's name, number of the object in its image, and shape.
NamedPart = tuple[str, str, int, Any]


class Region(NamedTuple):
    """One annotated part: its labels, the number of its object within the image, and its shape."""

    part: int
    object: int
    instance: int
    shape: Any


@dataclass(frozen=True)
class PartData:
    """The annotated images of one split.

    Attributes:
        source: The file or folder, for messages.
        parts: Names of the part classes, by label.
        objects: Names of the object classes, by label; a single one if the data does not distinguish any.
        objects_from: The source of the object classes, for the reader of a table; None if there is only one.
        paths: The image files.
        regions: The parts of each image.
        decode: ``(shape, height, width) -> mask`` (H, W) bool; None if shapes are boxes, as around keypoints.
        object_boxes: For each image instance -> box, if the data has boxes of whole objects.
    """

    source: str
    parts: tuple[str, ...]
    objects: tuple[str, ...]
    objects_from: str | None
    paths: list[Path]
    regions: list[list[Region]]
    decode: Callable[[Any, int, int], np.ndarray] | None = None
    object_boxes: list[dict[int, Box]] | None = None

    def labels(self, level: str) -> list[list[int]]:
        """Labels of the parts of each image: ``level`` is ``'part'`` or ``'object'``."""
        return [[getattr(region, level) for region in regions] for regions in self.regions]

    def masks(self, index: int, height: int, width: int) -> np.ndarray:
        """The masks of one image, (R, height, width) bool, at the size of its file.

        Raises:
            UserError: The data has boxes only, or a mask is empty or of another size.
        """
        if self.decode is None:
            raise UserError(f'{self.source} has boxes of parts, no masks: there is nothing to segment or to pool')
        return np.stack([self.decode(region.shape, height, width) for region in self.regions[index]])

    def part_boxes(self, index: int, height: int, width: int) -> list[Box]:
        """A square around each part, in the order of ``regions``."""
        if self.decode is None:
            return [region.shape for region in self.regions[index]]
        return [_square(mask) for mask in self.masks(index, height, width)]

    def object_boxes_of(self, index: int, height: int, width: int) -> dict[int, Box]:
        """Instance -> a box around the whole object: the data's own, or a square around its parts."""
        if self.object_boxes is not None:
            return self.object_boxes[index]
        masks = self.masks(index, height, width)
        instances = np.array([region.instance for region in self.regions[index]])
        return {int(one): _square(masks[instances == one].any(axis=0)) for one in np.unique(instances)}

    @property
    def object_note(self) -> str:
        """What the object level is, for the reader of a table."""
        if self.objects_from is None:
            return (
                f'Objects: the annotations have one class ({self.objects[0]}), so there is no object recognition; '
                'object mIoU is that of object and background.'
            )
        return f'Objects: {len(self.objects)} classes, from {self.objects_from}.'


class PartImages(Dataset):
    """Annotated images, resized to a square as a whole so that no part is lost, with their masks on a grid of cells.

    An item holds ``image`` (3, S, S) uint8 RGB; per part ``part_shares`` (R, h, w), the share of each cell that its
    mask covers, and ``part_labels`` (R,); the same for the objects (the union of an image's parts of one object class),
    ``object_shares`` and ``object_labels``; and the maps ``part_map`` and ``object_map``, see :func:`label_maps`.

    Args:
        data: What to read; with masks.
        size: S, in pixels.
        grid: (h, w), the cells of the encoder's last map.
    """

    def __init__(self, data: PartData, size: int, grid: tuple[int, int]) -> None:
        self.data, self.size, self.grid = data, size, grid

    def __len__(self) -> int:
        return len(self.data.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels = read_image(self.data.paths[index])
        masks = self.data.masks(index, *pixels.shape[:2])
        parts, objects = (np.array(self.data.labels(level)[index]) for level in ('part', 'object'))
        present = np.unique(objects)
        unions = np.stack([masks[objects == label].any(axis=0) for label in present])
        part_map, object_map = label_maps(masks, parts, objects)
        image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float()
        image = F.interpolate(image, (self.size, self.size), mode='bicubic', antialias=True)
        return {
            'image': image[0].round().clamp(0, 255).to(torch.uint8),
            'part_shares': cell_shares(torch.from_numpy(masks), self.grid),
            'part_labels': torch.from_numpy(parts),
            'object_shares': cell_shares(torch.from_numpy(unions), self.grid),
            'object_labels': torch.from_numpy(present),
            'part_map': torch.from_numpy(part_map),
            'object_map': torch.from_numpy(object_map),
        }


def label_maps(masks: np.ndarray, parts: np.ndarray, objects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maps of parts and of objects, (H, W) int64: 0 is background, then label + 1. Smaller parts lie on larger ones."""
    part_map, object_map = np.zeros(masks.shape[1:], np.int64), np.zeros(masks.shape[1:], np.int64)
    for i in np.argsort(-masks.sum(axis=(1, 2)), kind='stable'):
        part_map[masks[i]], object_map[masks[i]] = parts[i] + 1, objects[i] + 1
    return part_map, object_map


def cell_shares(masks: Iterable[Tensor], grid: tuple[int, int]) -> Tensor:
    """The share of each cell that is covered: R times (H, W) bool -> (R, h, w), in the memory of one mask."""
    return torch.cat([F.adaptive_avg_pool2d(mask.float()[None], grid) for mask in masks])


def label_shares(labels: Tensor, count: int, grid: tuple[int, int]) -> Tensor:
    """The share of each cell that each label has: (H, W) in [0, count) -> (count, h, w); they sum to 1 per cell."""
    return cell_shares((labels == label for label in range(count)), grid)


def check_pair(train: PartData, val: PartData) -> None:
    """Check that both splits have the same classes.

    Raises:
        UserError: They do not.
    """
    for what, ours, theirs in (('part', train.parts, val.parts), ('object', train.objects, val.objects)):
        if ours != theirs:
            differing = sorted(set(ours) ^ set(theirs)) or 'the same ones in another order'
            raise UserError(f'{train.source} and {val.source} have different {what} classes: {differing}')


def labelled_splits(
    root: Path, splits: dict[str, dict[Path, list[NamedPart]]], decode: Callable[[Any, int, int], np.ndarray]
) -> Splits:
    """Label the parts that both splits have, in alphabetical order; a class is an object class with a part's name.

    Args:
        root: Of the data set, for messages.
        splits: Name of the split -> image file -> its parts.
        decode: See :class:`PartData`.

    Raises:
        UserError: An image file is missing, or the splits have no class in common.
    """
    classes = set.intersection(
        *({(obj, part) for image in images.values() for obj, part, *_ in image} for images in splits.values())
    )
    if not classes:
        raise UserError(f'{root}: the training and validation images have no part class in common')
    parts = {name: label for label, name in enumerate(sorted(f'{obj} {part}' for obj, part in classes))}
    objects = {name: label for label, name in enumerate(sorted({obj for obj, _ in classes}))}
    found = []
    for split, images in splits.items():
        regions = {}
        for path, image in images.items():
            kept = [
                Region(parts[f'{obj} {part}'], objects[obj], instance, shape)
                for obj, part, instance, shape in image
                if (obj, part) in classes
            ]
            if kept:
                regions[path] = kept
        require_files(list(regions), str(root))
        source, note = f'{root} ({split})', "the data set's object classes"
        data = PartData(source, tuple(parts), tuple(objects), note, list(regions), list(regions.values()), decode)
        found.append(data)
    train, val = found
    return train, val


def checked_mask(mask: np.ndarray, height: int, width: int, name: str) -> np.ndarray:
    """A mask as bool.

    Raises:
        UserError: It has another size than its image, or no pixel.
    """
    if mask.shape != (height, width):
        raise UserError(
            f'the mask of {name} has {mask.shape[1]} x {mask.shape[0]} pixels, its image {width} x {height}'
        )
    if not mask.any():
        raise UserError(f'the mask of {name} is empty: remove it')
    return mask.astype(bool)


def require_files(paths: Sequence[Path], source: str) -> None:
    """Check that image files exist.

    Raises:
        UserError: Some are missing; the first five are named.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f' and {len(missing) - 5} more' if len(missing) > 5 else ''
        raise UserError(
            f'{source} is for other images: {len(missing)} of its {len(paths)} files are missing: '
            f'{", ".join(map(str, missing[:5]))}{more}'
        )


def _square(mask: np.ndarray) -> Box:
    """The smallest square around the bounding box of a mask, with the same centre."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = max(bottom - top, right - left)
    left, top = (left + right - side) // 2, (top + bottom - side) // 2
    return int(left), int(top), int(left + side), int(top + side)
