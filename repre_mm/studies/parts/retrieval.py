"""Patches that an encoder, and its projector, find nearest to a given one (Zhu et al., arXiv 2301.11915, Figures 2, 4).

The study searches windows of a quarter of the image's side, at steps of half a window, in central crops that it
enlarges four times; here the query is any box, and all images are searched with windows of its size in pixels.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou, nms
from tqdm import tqdm

from repre_mm.datasets.reading import read_image
from repre_mm.evaluation import EvaluationError
from repre_mm.evaluation.frozen import FrozenEncoder
from repre_mm.studies.parts.representations import Projector, represent

#: Windows of one image that overlap more than this count as one, the best of them.
MAX_OVERLAP = 0.3
#: The study shows the 24 nearest.
TOP = 24

#: Left, top, width, height in pixels.
QueryBox = tuple[int, int, int, int]


@dataclass(frozen=True)
class Hit:
    """A patch that was found: the cosine with the query, the image, and left, top, width, height in its pixels."""

    similarity: float
    path: Path
    box: QueryBox


def cut_windows(height: int, width: int, box: tuple[int, int], stride: float = 0.5) -> Tensor:
    """Windows of one size on a regular grid that starts in the upper left corner.

    Args:
        height: Of the image.
        width: Likewise.
        box: Width and height of a window; windows are made smaller where the image is.
        stride: From one window to the next, in widths and heights of a window.

    Returns:
        (N, 4) int64: left, top, right, bottom.
    """
    w, h = min(box[0], width), min(box[1], height)
    lefts = torch.arange(0, width - w + 1, max(1, round(stride * w)))
    tops = torch.arange(0, height - h + 1, max(1, round(stride * h)))
    top, left = torch.meshgrid(tops, lefts, indexing='ij')
    corners = torch.stack([left.flatten(), top.flatten()], dim=1)
    return torch.cat([corners, corners + torch.tensor([w, h])], dim=1)


def represent_windows(
    encoder: FrozenEncoder, projection: Projector | None, pixels: np.ndarray, windows: Tensor, batch_size: int = 128
) -> dict[str, Tensor]:
    """Representations of windows, each cut out and encoded on its own, as a view of training is.

    Args:
        encoder: The encoder.
        projection: Its projector, if it has one.
        pixels: (H, W, 3) uint8 RGB.
        windows: (N, 4), see :func:`cut_windows`; all of one size.
        batch_size: Windows at a time.

    Returns:
        As of :func:`repre_mm.studies.parts.representations.represent`.
    """
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
    size = (encoder.image_size, encoder.image_size)
    found: dict[str, list[Tensor]] = {}
    for part in windows.split(batch_size):
        patches = torch.stack([image[:, top:bottom, left:right] for left, top, right, bottom in part.tolist()])
        patches = F.interpolate(patches.float(), size, mode='bicubic', antialias=True).clamp(0, 255)
        for name, vectors in represent(encoder, projection, patches).items():
            found.setdefault(name, []).append(vectors)
    return {name: torch.cat(parts) for name, parts in found.items()}


def retrieve(
    encoder: FrozenEncoder,
    projection: Projector | None,
    query: str | os.PathLike,
    box: QueryBox,
    paths: Sequence[str | os.PathLike],
    *,
    top: int = TOP,
    stride: float = 0.5,
    batch_size: int = 128,
    progress: bool = True,
) -> dict[str, list[Hit]]:
    """The patches nearest to a query, by cosine, for every representation. Only the best are kept in memory.

    The query itself, and whatever overlaps it, is left out where its own image is among those searched.

    Args:
        encoder: The encoder.
        projection: Its projector, if it has one.
        query: The image of the query.
        box: The query.
        paths: Images to search.
        top: How many to find.
        stride: See :func:`cut_windows`.
        batch_size: Patches at a time.
        progress: Show a progress bar with the time left.

    Returns:
        Representation -> hits, nearest first.

    Raises:
        EvaluationError: The box leaves the image, or a setting is unusable.
        repre_mm.datasets.ImageReadError: An image cannot be read.
    """
    if top < 1 or not 0 < stride <= 1:
        raise EvaluationError(f'top={top} must be at least 1, and stride={stride} above 0 and at most 1')
    pixels = read_image(query)
    left, upper, width, height = box
    if (
        min(left, upper) < 0
        or min(width, height) < 1
        or left + width > pixels.shape[1]
        or upper + height > pixels.shape[0]
    ):
        raise EvaluationError(
            f'the box {left} {upper} {width} {height} (left, top, width, height) leaves {query}, which is '
            f'{pixels.shape[1]} x {pixels.shape[0]} pixels'
        )
    corners = torch.tensor([[left, upper, left + width, upper + height]])
    wanted = represent_windows(encoder, projection, pixels, corners)
    own = Path(query).resolve()
    best: dict[str, list[Hit]] = {name: [] for name in wanted}
    for path in tqdm(paths, desc='searching', unit='image', disable=not progress):
        pixels = read_image(path)
        windows = cut_windows(*pixels.shape[:2], (width, height), stride)
        if Path(path).resolve() == own:
            windows = windows[box_iou(windows.float(), corners.float())[:, 0] == 0]
        if not len(windows):
            continue
        for name, vectors in represent_windows(encoder, projection, pixels, windows, batch_size).items():
            similarities = vectors @ wanted[name][0]
            for i in nms(windows.float(), similarities, MAX_OVERLAP)[:top].tolist():
                x, y, right, bottom = windows[i].tolist()
                best[name].append(Hit(similarities[i].item(), Path(path), (x, y, right - x, bottom - y)))
            best[name] = sorted(best[name], key=lambda hit: -hit.similarity)[:top]
    return best
