"""A quick study of one frozen encoder: recognition of pooled regions, segmentation by a linear head on cells.

Not the part-aware study's own protocol (see ``recognition.py`` and ``fcn.py``): each image passes through the encoder
once and nothing is augmented, so it takes minutes where the study takes days.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from repre_mm.evaluation.frozen import FrozenEncoder
from repre_mm.evaluation.knn import knn_classify
from repre_mm.evaluation.linear_probe import linear_probe
from repre_mm.studies.parts.crops import check_finite
from repre_mm.studies.parts.data import PartData, PartImages, check_pair, label_shares
from repre_mm.studies.parts.patches import patch_map, region_means
from repre_mm.studies.parts.segmentation import LinearHead, confusion, fit_linear_head, intersection_over_union

#: Cells that the segmentation heads are trained on, at most: 400 MB for 1024 channels.
MAX_CELLS = 100_000
LEVELS = ('part', 'object')


class _Rows:
    """A tensor that is filled image by image, allocated at once.

    Kept one by one, small tensors would lie between the large ones that come and go with every image, which the heap
    could then not reuse; and each tensor of a loading process would keep a file open.
    """

    def __init__(self, *shape: int, dtype: torch.dtype = torch.float32) -> None:
        self.tensor, self._filled = torch.empty(shape, dtype=dtype), 0

    def add(self, rows: Tensor) -> None:
        self.tensor.narrow(0, self._filled, len(rows)).copy_(rows)
        self._filled += len(rows)


class _Regions:
    """Pooled features and labels of all regions of one level."""

    def __init__(self, data: PartData, level: str, width: int) -> None:
        count = sum(len(labels if level == 'part' else set(labels)) for labels in data.labels(level))
        self.features, self.labels = _Rows(count, width), _Rows(count, dtype=torch.int64)

    def add(self, features: Tensor, labels: Tensor) -> None:
        self.features.add(features)
        self.labels.add(labels)


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
    """Score a frozen encoder on parts and on objects; each image passes through it once.

    Regions: the patch tokens inside a mask, averaged with the share of each cell that the mask covers, are classified
    by kNN and by a linear probe. A part region is one part annotation, an object region the union of the parts of one
    object class in one image; with a single object class there is nothing to tell apart, and no such score.

    Segmentation: a linear head on patch tokens, upsampled bilinearly to the size of the file, against the map of parts
    (of object classes) and background. Memory is bounded by :data:`MAX_CELLS` and by the number of regions.

    Args:
        encoder: The encoder, in evaluation mode, on its device.
        train: Of the probes' training.
        val: Of the scores.
        k: Neighbours.
        batch_size: Images per forward pass.
        workers: Loading processes.
        seed: Of the cells that are kept and of the linear probe.
        progress: Show progress bars.

    Returns:
        Numbers and names only, ready for JSON: ``grid``, ``width``, and for ``part`` and ``object`` the number of
        regions, ``linear`` (a :class:`repre_mm.evaluation.LinearProbeResult`), ``knn`` (top-1 in percent), both None
        without two classes, ``miou`` (mean over the classes and the background, in percent), ``iou`` (per class) and
        ``head_converged``.

    Raises:
        EvaluationError: The files disagree, do not fit their images, or the encoder has no patch tokens.
        ValueError: ``k`` is larger than the number of regions, or an image size that the encoder refuses.
    """
    check_pair(train, val)
    size = encoder.image_size
    with torch.no_grad():
        blank = torch.zeros(1, 3, size, size, dtype=torch.uint8)
        first = patch_map(encoder.module, encoder.normalised(blank))
    grid = tuple(first.shape[-2:])
    counts = {'part': len(train.parts), 'object': len(train.objects)}

    width = first.shape[1]
    train_regions = {level: _Regions(train, level, width) for level in LEVELS}
    kept = min(math.prod(grid), max(1, MAX_CELLS // len(train.paths)))
    generator = torch.Generator().manual_seed(seed)
    total = kept * len(train.paths)
    cells, shares = _Rows(total, width), {level: _Rows(total, count + 1) for level, count in counts.items()}
    for item, maps in _encoded(encoder, train, grid, 'training images', batch_size, workers, progress):
        _pool(train_regions, item, maps)
        chosen = torch.randperm(math.prod(grid), generator=generator)[:kept]
        cells.add(maps.flatten(1).T.cpu()[chosen])
        for level in LEVELS:
            cover = label_shares(item[f'{level}_map'], counts[level] + 1, grid)
            shares[level].add(cover.flatten(1).T[chosen])
    features = cells.tensor.to(first.device)
    check_finite(features)
    heads = {
        level: fit_linear_head(features, shares[level].tensor.to(first.device), progress=progress) for level in LEVELS
    }

    val_regions = {level: _Regions(val, level, width) for level in LEVELS}
    tables = {level: torch.zeros(count + 1, count + 1, dtype=torch.int64) for level, count in counts.items()}
    for item, maps in _encoded(encoder, val, grid, 'validation images', batch_size, workers, progress):
        _pool(val_regions, item, maps)
        for level in LEVELS:
            tables[level] += confusion(heads[level](maps), item[f'{level}_map'])

    result: dict[str, Any] = {'image_size': size, 'grid': list(grid), 'width': width}
    names = {'part': train.parts, 'object': train.objects}
    for level in LEVELS:
        regions = train_regions[level], val_regions[level]
        options = {'k': k, 'seed': seed, 'progress': progress}
        result[level] = {
            **_recognition(*regions, len(names[level]), **options),
            **_overlap(tables[level], names[level], heads[level]),
        }
    return result


def _encoded(
    encoder: FrozenEncoder,
    data: PartData,
    grid: tuple[int, int],
    name: str,
    batch_size: int,
    workers: int,
    progress: bool,
) -> Iterator[tuple[dict[str, Any], Tensor]]:
    """Items of :class:`PartImages` and their patch maps (C, h, w), one image at a time."""
    dataset = PartImages(data, encoder.image_size, grid)
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=workers, collate_fn=list)
    with tqdm(total=len(dataset), desc=name, unit='image', disable=not progress) as bar:
        for items in loader:
            maps = patch_map(encoder.module, encoder.normalised(torch.stack([item['image'] for item in items])))
            yield from zip(items, maps, strict=True)
            bar.update(len(items))


def _pool(regions: dict[str, _Regions], item: dict[str, Any], maps: Tensor) -> None:
    for level in LEVELS:
        regions[level].add(region_means(maps, item[f'{level}_shares']), item[f'{level}_labels'])


def _recognition(train: _Regions, val: _Regions, classes: int, *, k: int, seed: int, progress: bool) -> dict[str, Any]:
    features, labels = train.features.tensor, train.labels.tensor
    val_features, val_labels = val.features.tensor, val.labels.tensor
    result: dict[str, Any] = {'classes': classes, 'train_regions': len(labels), 'val_regions': len(val_labels)}
    if classes < 2:
        return {**result, 'linear': None, 'knn': None}
    guesses = knn_classify(features, labels, val_features, k=k, num_classes=classes)[k]
    return {
        **result,
        'linear': asdict(linear_probe(features, labels, val_features, val_labels, seed=seed, progress=progress)),
        'knn': {'k': k, 'top1': 100 * (guesses == val_labels).double().mean().item()},
    }


def _overlap(table: Tensor, names: tuple[str, ...], head: LinearHead) -> dict[str, Any]:
    overlaps = intersection_over_union(table)
    # A class that smaller parts hide in every image, and that nobody guesses, has no overlap to count.
    present = overlaps.isfinite()
    overlaps, mean = [v if math.isfinite(v) else None for v in overlaps.tolist()], overlaps[present].mean().item()
    return {
        'miou': mean,
        'iou': dict(zip(('background', *names), overlaps, strict=True)),
        'head_converged': head.converged,
    }
