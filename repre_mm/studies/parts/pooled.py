"""A quick study of one frozen encoder: recognition of pooled regions, segmentation by a linear head on cells.

Not the part-aware study's own protocol (see ``recognition.py`` and ``fcn.py``): each image passes through the encoder
once and nothing is augmented, so it takes minutes instead of days.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from repre_mm.evaluation.features import FrozenEncoder
from repre_mm.evaluation.knn import knn_classify
from repre_mm.evaluation.linear_probe import linear_probe
from repre_mm.studies.parts.crops import check_finite
from repre_mm.studies.parts.data import PartData, PartImages, check_pair, label_shares
from repre_mm.studies.parts.patches import patch_map, region_means
from repre_mm.studies.parts.segmentation import LinearHead, confusion, fit_linear_head, intersection_over_union

#: Cells that the segmentation heads are trained on, at most: 400 MB for 1024 channels.
MAX_CELLS = 100_000
LEVELS = ('part', 'object')


class Regions:
    """Pooled features (N, C) and labels (N,) of all regions of one level, in memory that is allocated once.

    Small tensors kept one by one would fragment the memory between the large ones of each image, and each tensor of a
    loading process would keep a file open.
    """

    def __init__(self, data: PartData, level: str, width: int) -> None:
        count = sum(len(labels if level == 'part' else set(labels)) for labels in data.labels(level))
        self.features, self.labels = torch.empty(count, width), torch.empty(count, dtype=torch.int64)
        self._filled = 0

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Append (R, C) features with their labels (R,)."""
        rows = slice(self._filled, self._filled + len(labels))
        self.features[rows], self.labels[rows] = features, labels
        self._filled += len(labels)


def quick_study(
    encoder: FrozenEncoder,
    train: PartData,
    val: PartData,
    *,
    k: int = 20,
    batch_size: int = 32,
    workers: int = 2,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Score a frozen encoder on parts and on objects.

    Regions: the patch tokens inside a mask, averaged with the share of each cell that the mask covers, are classified
    by kNN and by a linear probe. A part region is one part annotation, an object region the union of the parts of one
    object class in one image.

    Segmentation: a linear head on patch tokens, upsampled bilinearly to the size of the file, against the map of parts
    (of object classes) and background.

    Args:
        encoder: The encoder.
        train: For the training of probes and heads.
        val: For the scores.
        k: Neighbours.
        batch_size: Images per forward pass.
        workers: Loading processes.
        seed: Of the choice of cells and of the linear probe.
        progress: Show progress bars.

    Returns:
        Numbers and names only, ready for JSON: ``grid``, ``width``, and for ``part`` and ``object`` the number of
        regions, ``linear`` (see :func:`repre_mm.evaluation.linear_probe`) and ``knn`` (top-1 in percent), both None
        for a single class, ``miou`` (mean over the classes and the background, in percent), ``iou`` (per class) and
        ``head_converged``.

    Raises:
        UserError: The splits have different classes, the files do not fit their images, the encoder has no patch tokens
            or refuses the image size, or ``k`` is larger than the number of regions.
    """
    check_pair(train, val)
    size = encoder.image_size
    blank = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    width, *grid = patch_map(encoder.module, encoder.normalised(blank)).shape[1:]
    names = {'part': train.parts, 'object': train.objects}
    options = {'batch_size': batch_size, 'workers': workers, 'progress': progress}

    train_regions = {level: Regions(train, level, width) for level in LEVELS}
    kept = min(math.prod(grid), max(1, MAX_CELLS // len(train.paths)))
    generator = torch.Generator().manual_seed(seed)
    cells = torch.empty(len(train.paths), kept, width)
    shares = {level: torch.empty(len(train.paths), kept, len(names[level]) + 1) for level in LEVELS}
    for index, (item, maps) in enumerate(_encoded(encoder, train, grid, 'training images', **options)):
        _pool(train_regions, item, maps)
        chosen = torch.randperm(math.prod(grid), generator=generator)[:kept]
        cells[index] = maps.flatten(1).T.cpu()[chosen]
        for level in LEVELS:
            cover = label_shares(item[f'{level}_map'], len(names[level]) + 1, grid)
            shares[level][index] = cover.flatten(1).T[chosen]
    check_finite(cells)
    features = cells.flatten(0, 1).to(encoder.device)
    heads = {
        level: fit_linear_head(features, shares[level].flatten(0, 1).to(encoder.device), progress=progress)
        for level in LEVELS
    }

    val_regions = {level: Regions(val, level, width) for level in LEVELS}
    counts = {level: torch.zeros(len(names[level]) + 1, len(names[level]) + 1, dtype=torch.int64) for level in LEVELS}
    for item, maps in _encoded(encoder, val, grid, 'validation images', **options):
        _pool(val_regions, item, maps)
        for level in LEVELS:
            counts[level] += confusion(heads[level](maps), item[f'{level}_map'])

    result: dict[str, Any] = {'image_size': size, 'grid': grid, 'width': width}
    for level in LEVELS:
        classes = len(names[level])
        result[level] = {
            **_recognition(train_regions[level], val_regions[level], classes, k=k, seed=seed, progress=progress),
            **_overlap(counts[level], names[level], heads[level]),
        }
    return result


def _encoded(
    encoder: FrozenEncoder, data: PartData, grid: list[int], name: str, *, batch_size: int, workers: int, progress: bool
) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Items of :class:`PartImages` and their patch maps (C, h, w), one image at a time."""
    dataset = PartImages(data, encoder.image_size, tuple(grid))
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=workers, collate_fn=list)
    with tqdm(total=len(dataset), desc=name, unit='image', disable=not progress) as bar:
        for items in loader:
            maps = patch_map(encoder.module, encoder.normalised(torch.stack([item['image'] for item in items])))
            yield from zip(items, maps, strict=True)
            bar.update(len(items))


def _pool(regions: dict[str, Regions], item: dict[str, Any], maps: Tensor) -> None:
    for level in LEVELS:
        regions[level].add(region_means(maps, item[f'{level}_shares']), item[f'{level}_labels'])


def _recognition(train: Regions, val: Regions, classes: int, *, k: int, seed: int, progress: bool) -> dict[str, Any]:
    regions = {'train_regions': len(train.labels), 'val_regions': len(val.labels)}
    result: dict[str, Any] = {'classes': classes, **regions, 'linear': None, 'knn': None}
    if classes > 1:
        guesses = knn_classify(train.features, train.labels, val.features, k=k, num_classes=classes)[k]
        result['knn'] = {'k': k, 'top1': 100 * (guesses == val.labels).double().mean().item()}
        data = train.features, train.labels, val.features, val.labels
        result['linear'] = linear_probe(*data, seed=seed, progress=progress)
    return result


def _overlap(counts: Tensor, names: tuple[str, ...], head: LinearHead) -> dict[str, Any]:
    overlaps = intersection_over_union(counts)
    # A class that never shows and is never guessed has no overlap.
    present = overlaps.isfinite()
    iou = [value if math.isfinite(value) else None for value in overlaps.tolist()]
    return {
        'miou': overlaps[present].mean().item(),
        'iou': dict(zip(('background', *names), iou, strict=True)),
        'head_converged': head.converged,
    }
