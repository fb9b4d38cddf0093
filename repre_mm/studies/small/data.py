"""Read the images that the small benchmark scores with, once for all cells."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from repre_mm.datasets import DatasetError, MaskFolder, read_image
from repre_mm.datasets.formats.masks import VOID, locate_split
from repre_mm.evaluation.loaders import image_folder_loader
from repre_mm.studies.parts.coco import read_coco
from repre_mm.studies.parts.data import PartImages, check_pair, label_shares
from repre_mm.utils.atomic import write_atomically
from repre_mm.utils.errors import UserError

SPLITS = ('train', 'val')
#: Rows and columns of tiles, each of the encoder's own size, into which an image is cut.
SEG_TILES, PART_TILES = (2, 3), (2, 2)


@dataclass(frozen=True)
class Sources:
    """Where the images are.

    Attributes:
        data: ``{train,val}/<class>/*``.
        seg: A folder laid out as Cityscapes, with ids of 0 to K - 1 and 255 for void; None: no such score.
        parts: ``{train,val}/*`` and ``annotations/parts_{train,val}.json`` (COCO); None: no such score.
    """

    data: str
    seg: str | None = None
    parts: str | None = None

    def check(self) -> int:
        """Check everything but the images themselves; return the number of training images.

        Raises:
            UserError: A folder is missing or laid out otherwise; the message says how it must be.
        """
        train, val = (image_folder_loader(self.data, split, 32, workers=0).dataset for split in SPLITS)
        if set(val.metainfo['classes']) - set(train.metainfo['classes']):
            raise UserError(f'{self.data}: val has classes that train lacks')
        if self.seg:
            _pairs(self.seg)
        for split in SPLITS if self.parts else ():
            for path in _part_places(self.parts, split):
                if not path.exists():
                    raise UserError(
                        f'there is no {path}: parts must be laid out as {self.parts}/{{train,val}}/ and '
                        f'{self.parts}/annotations/parts_{{train,val}}.json'
                    )
        return len(train)


def prepare(sources: Sources, size: int, patch: int, folder: Path) -> dict[str, Any]:
    """Read all images for the scores, or what an earlier call kept of the same ones; mapped, not in memory.

    Args:
        sources: Of the images.
        size: Side of the encoder's images, in pixels.
        patch: Side of its patches.
        folder: Where the file is kept: ``images.pt``, some hundred MB.

    Returns:
        ``cls``: per split (images (N, 3, S, S) uint8, labels (N,)). ``seg``: per split images (N, 3, 2 S, 3 S), for
        training the share of each label in each cell (N, K + 1, h, w), for validation the label maps (a list of (H, W)
        uint8); label K is void. ``parts``: ``names``, and per split images (N, 3, 2 S, 2 S), a list of shares (R, h, w)
        and a list of labels (R,).

    Raises:
        UserError: An image or a mask cannot be read, or does not fit.
    """
    path = folder / 'images.pt'
    key = f'{sources} {size} {patch} {SEG_TILES} {PART_TILES}'
    if path.is_file() and (found := torch.load(path, mmap=True, weights_only=True))['key'] == key:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    cells = size // patch
    found = {'key': key, 'cls': {split: _labelled(sources.data, split, size) for split in SPLITS}}
    if sources.seg:
        found['seg'] = _segmentation(sources.seg, size, cells)
    if sources.parts:
        found['parts'] = _parts(sources.parts, size, cells)
    write_atomically(path, lambda draft: torch.save(found, draft))
    return torch.load(path, mmap=True, weights_only=True)


def _labelled(root: str, split: str, size: int) -> tuple[Tensor, Tensor]:
    classes = image_folder_loader(root, 'train', size, workers=0).dataset.metainfo['classes']
    loader = image_folder_loader(root, split, size, workers=0, classes=classes)
    images, labels = zip(*tqdm(loader, desc=f'reading {split} images'), strict=True)
    return torch.cat(images), torch.cat(labels)


def _pairs(root: str) -> dict[str, list[dict]]:
    """Split -> the files of images and masks."""
    return {split: MaskFolder(**locate_split(root, None, split), pipeline=[]).load_data_list() for split in SPLITS}


def _segmentation(root: str, size: int, cells: int) -> dict[str, Any]:
    rows, columns = SEG_TILES
    images: dict[str, Tensor] = {}
    masks: dict[str, list[Tensor]] = {}
    for split, samples in _pairs(root).items():
        read = [read_image(sample['img_path']) for sample in samples]
        images[split] = torch.stack([_resized(pixels, rows * size, columns * size) for pixels in read])
        masks[split] = [_read_mask(sample['seg_map_path']) for sample in samples]
    labels = {int(label) for mask in masks['train'] for label in mask.unique()} - {VOID}
    if not labels:
        raise DatasetError(f'{root}: the masks for training hold void (255) only')
    count = max(labels) + 1
    for mask in masks['train'] + masks['val']:
        known = mask < count
        if not known[mask != VOID].all():
            raise DatasetError(f'{root}: the masks of val have labels above {count - 1}, the largest of train')
        mask[~known] = count
    grid = (rows * cells, columns * cells)
    shares = torch.stack([label_shares(mask.long(), count + 1, grid) for mask in masks['train']])
    return {'train': (images['train'], shares), 'val': (images['val'], masks['val'])}


def _read_mask(path: str | os.PathLike) -> Tensor:
    with Image.open(path) as image:
        mask = np.array(image)
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise DatasetError(f'{path} is no mask of one id, 0 to 255, per pixel')
    return torch.from_numpy(mask)


def _resized(pixels: np.ndarray, height: int, width: int) -> Tensor:
    """(H, W, 3) uint8 -> (3, height, width) uint8, bicubic."""
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float()
    image = F.interpolate(image, (height, width), mode='bicubic', antialias=True)[0]
    return image.round().clamp(0, 255).to(torch.uint8)


def _part_places(root: str, split: str) -> tuple[Path, Path]:
    return Path(root, 'annotations', f'parts_{split}.json'), Path(root, split)


def _parts(root: str, size: int, cells: int) -> dict[str, Any]:
    data = {split: read_coco(*_part_places(root, split)) for split in SPLITS}
    check_pair(*data.values())
    rows, _ = PART_TILES
    found: dict[str, Any] = {'names': list(data['train'].parts)}
    for split, annotated in data.items():
        items = list(tqdm(PartImages(annotated, rows * size, (rows * cells, rows * cells)), desc=f'{split} parts'))
        found[split] = (
            torch.stack([item['image'] for item in items]),
            [item['part_shares'] for item in items],
            [item['part_labels'] for item in items],
        )
    return found
