"""Nearest patches to a given one, by an encoder and its projector (Zhu et al., arXiv 2301.11915, Figures 2 and 4).

The study searches windows of a quarter of the image's side, at steps of half a window, in central crops enlarged four
times; here the query is any box, and all images are searched with windows of its size in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou, nms
from tqdm import tqdm

from repre_mm.datasets import NamedImage
from repre_mm.evaluation.features import FrozenEncoder
from repre_mm.studies.parts.representations import Projector, represent
from repre_mm.utils.errors import UserError

#: Of windows of one image that overlap more than this, only the best counts.
MAX_OVERLAP = 0.3
#: The study shows the 24 nearest.
TOP = 24

#: Left, top, width, height in pixels.
QueryBox = tuple[int, int, int, int]


@dataclass(frozen=True)
class Hit:
    """A patch found: cosine with the query, image, left, top, width, height in its pixels, and what reads the image."""

    similarity: float
    path: str
    box: QueryBox
    read: Callable[[], np.ndarray]


def cut_windows(height: int, width: int, box: tuple[int, int], stride: float = 0.5) -> Tensor:
    """Windows on a regular grid that starts in the upper left corner: (N, 4) int64, left, top, right, bottom.

    Args:
        height: Of the image.
        width: Of the image.
        box: Width and height of a window, at most the image's.
        stride: Steps, in widths and heights of a window.
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
    """Representations of windows (N, 4) of an image (H, W, 3) uint8, each encoded alone, as a view in training is."""
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
    query: NamedImage,
    box: QueryBox,
    images: Sequence[NamedImage],
    *,
    top: int = TOP,
    stride: float = 0.5,
    batch_size: int = 128,
    progress: bool = True,
) -> dict[str, list[Hit]]:
    """The patches nearest to a query by cosine, for every representation: name -> hits, nearest first.

    Patches that overlap the query are left out.

    Args:
        encoder: The encoder.
        projection: Its projector, if it has one.
        query: The image of the query.
        box: The query.
        images: To search, from :func:`repre_mm.datasets.open_images`.
        top: Number of hits.
        stride: See :func:`cut_windows`.
        batch_size: Patches per forward pass.
        progress: Show a progress bar.

    Raises:
        UserError: The box extends beyond the image, or ``top`` or ``stride`` is out of range.
        repre_mm.datasets.ImageReadError: An image cannot be read.
    """
    if top < 1 or not 0 < stride <= 1:
        raise UserError(f'top={top} must be at least 1, and stride={stride} above 0 and at most 1')
    own, read = query
    pixels = read()
    left, upper, width, height = box
    if (
        min(left, upper) < 0
        or min(width, height) < 1
        or left + width > pixels.shape[1]
        or upper + height > pixels.shape[0]
    ):
        raise UserError(
            f'the box {left} {upper} {width} {height} (left, top, width, height) extends beyond {own}, which is '
            f'{pixels.shape[1]} x {pixels.shape[0]} pixels'
        )
    corners = torch.tensor([[left, upper, left + width, upper + height]])
    wanted = represent_windows(encoder, projection, pixels, corners)
    best: dict[str, list[Hit]] = {name: [] for name in wanted}
    for path, read in tqdm(images, desc='searching', unit='image', disable=not progress):
        pixels = read()
        windows = cut_windows(*pixels.shape[:2], (width, height), stride)
        if Path(path).resolve() == Path(own).resolve():
            windows = windows[box_iou(windows.float(), corners.float())[:, 0] == 0]
        if not len(windows):
            continue
        for name, vectors in represent_windows(encoder, projection, pixels, windows, batch_size).items():
            similarities = vectors @ wanted[name][0]
            for i in nms(windows.float(), similarities, MAX_OVERLAP)[:top].tolist():
                x, y, right, bottom = windows[i].tolist()
                best[name].append(Hit(similarities[i].item(), path, (x, y, right - x, bottom - y), read))
            best[name] = sorted(best[name], key=lambda hit: -hit.similarity)[:top]
    return best
