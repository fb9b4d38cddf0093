"""Score an encoder for the small benchmark: kNN and linear, each block, segmentation, parts."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from repre_mm.evaluation.features import FrozenEncoder
from repre_mm.evaluation.knn import knn_classify
from repre_mm.evaluation.linear_probe import linear_probe
from repre_mm.models.taps import LevelTap, encoder_levels, pooled
from repre_mm.studies.parts.patches import patch_map, region_means
from repre_mm.studies.parts.precision import average_precision
from repre_mm.studies.parts.segmentation import confusion, fit_linear_head, intersection_over_union

#: Scores of one encoder, in percent, and what they are.
SCORES = {
    'knn': 'kNN, top-1',
    'linear': 'linear probe, top-1',
    'seg_miou': 'segmentation, linear head, mIoU',
    'part_knn': 'parts, kNN, top-1',
    'part_linear': 'parts, linear probe, top-1',
    'part_map': 'parts, retrieval, mAP',
}
#: Cells that the linear head of segmentation is trained on, at most, and the least share of known labels in one.
MAX_CELLS, KNOWN = 20_000, 0.5
_BATCH = 128


def score_encoder(encoder: FrozenEncoder, data: dict[str, Any], *, k: int = 20, seed: int = 0) -> dict[str, Any]:
    """Score a frozen encoder on what :func:`repre_mm.studies.small.data.prepare` read.

    Returns:
        The :data:`SCORES`, None where the images are missing, and ``block_knn``: kNN on the mean token of each block
        (or the mean cell of each stage), shallow to deep; all in percent.
    """
    scores: dict[str, Any] = dict.fromkeys(SCORES)
    (bank, labels), (queries, truth) = ((level_vectors(encoder, images), y) for images, y in data['cls'].values())
    by_level = [_knn(one, labels, other, truth, k) for one, other in zip(bank, queries, strict=True)]
    scores['block_knn'], scores['knn'] = by_level[:-1], by_level[-1]
    scores['linear'] = linear_probe(bank[-1], labels, queries[-1], truth, seed=seed)['top1']
    if 'seg' in data:
        scores['seg_miou'] = _segmentation(encoder, data['seg'])
    if 'parts' in data:
        scores |= _parts(encoder, data['parts'], k, seed)
    return scores


@torch.no_grad()
def level_vectors(encoder: FrozenEncoder, images: Tensor) -> list[Tensor]:
    """Mean cells of each level and, last, the encoder's output: (N, 3, S, S) uint8 -> L + 1 times (N, C)."""
    indices = range(len(encoder_levels(encoder.module)))
    parts = []
    for batch in images.split(_BATCH):
        view = encoder.normalised(batch)
        with LevelTap().open(encoder.module, indices, view, need_grad=False) as levels:
            output = encoder.module(view)
        parts.append([*(levels[index].mean(dim=(2, 3)) for index in indices), pooled(output)])
    return [torch.cat(vectors).float().cpu() for vectors in zip(*parts, strict=True)]


def tile_maps(encoder: FrozenEncoder, images: Tensor) -> Tensor:
    """Patch tokens of images that are cut into tiles of the encoder's size, each encoded alone.

    (B, 3, R S, Q S) uint8 -> (B, C, R h, Q w), float32, on the CPU.
    """
    size = encoder.image_size
    rows, columns = images.shape[-2] // size, images.shape[-1] // size
    # (B, 3, R S, Q S) -> (B R Q, 3, S, S)
    tiles = images.unflatten(2, (rows, size)).unflatten(4, (columns, size)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    maps = torch.cat([patch_map(encoder.module, encoder.normalised(part)).cpu() for part in tiles.split(_BATCH)])
    # (B R Q, C, h, w) -> (B, C, R h, Q w)
    maps = maps.unflatten(0, (len(images), rows, columns)).permute(0, 3, 1, 4, 2, 5)
    return maps.flatten(4, 5).flatten(2, 3)


def _knn(bank: Tensor, labels: Tensor, queries: Tensor, truth: Tensor, k: int) -> float:
    guesses = knn_classify(bank, labels, queries, k=k)[k]
    return 100 * (guesses == truth).double().mean().item()


def _segmentation(encoder: FrozenEncoder, data: dict[str, Any]) -> float:
    """mIoU of a linear head on cells, over the classes that the validation images hold or the head guesses."""
    images, shares = data['train']
    # (N, C, h, w) -> (N h w, C), and likewise the shares
    features = torch.cat([tile_maps(encoder, part).permute(0, 2, 3, 1).flatten(0, 2) for part in images.split(16)])
    shares = shares.permute(0, 2, 3, 1).flatten(0, 2)
    known = 1 - shares[:, -1]
    usable = torch.nonzero(known >= KNOWN)[:, 0]
    order = torch.randperm(len(usable), generator=torch.Generator().manual_seed(0))  # the same cells for all encoders
    rows = usable[order[:MAX_CELLS]]
    head = fit_linear_head(features[rows], shares[rows, :-1] / known[rows, None])
    count = shares.shape[1] - 1
    counts = torch.zeros(count + 1, count + 1, dtype=torch.int64)
    images, masks = data['val']
    for image, mask in zip(images, masks, strict=True):
        logits = head(tile_maps(encoder, image[None])[0])
        counts += confusion(F.pad(logits, (0, 0, 0, 0, 0, 1), value=-1e9), mask.long())  # void is never guessed
    overlaps = intersection_over_union(counts[:count, :count])
    return overlaps[overlaps.isfinite()].mean().item()


def _parts(encoder: FrozenEncoder, data: dict[str, Any], k: int, seed: int) -> dict[str, float]:
    """Classes of annotated parts, from the tokens within their masks; retrieval is among the validation parts."""
    vectors, labels = {}, {}
    for split in ('train', 'val'):
        images, shares, classes = data[split]
        maps = torch.cat([tile_maps(encoder, part) for part in images.split(16)])
        vectors[split] = torch.cat([region_means(one, share) for one, share in zip(maps, shares, strict=True)])
        labels[split] = torch.cat(list(classes))
    sets = vectors['train'], labels['train'], vectors['val'], labels['val']
    retrieved = average_precision(F.normalize(vectors['val'], dim=1), labels['val'], data['names'])
    return {
        'part_knn': _knn(*sets, k),
        'part_linear': linear_probe(*sets, seed=seed)['top1'],
        'part_map': retrieved['map'],
    }
