"""Patches that an encoder, and its projector, take for the same as a given one (Zhu et al., arXiv 2301.11915)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torchvision.ops import box_iou, nms
from tqdm import tqdm

from repre_mm.checkpoint import read_checkpoint
from repre_mm.datasets.reading import read_image
from repre_mm.evaluation.features import global_features
from repre_mm.evaluation.frozen import FrozenEncoder
from repre_mm.evaluation.protocol import RANDOM, EvaluationError
from repre_mm.visualization.overlays import sheet

#: Patches of one image that overlap more than this count as one, the best of them.
MAX_OVERLAP = 0.3
REPRESENTATIONS = ('encoder', 'projector')
_TILE, _COLUMNS, _RED = 96, 6, (220, 30, 30)

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Hit:
    """A patch that was found: the cosine with the query, the image, and left, top, width, height in its pixels."""

    similarity: float
    path: Path
    box: Box


def load_projector(cfg: Config, checkpoint: str | os.PathLike, *, seed: int = 0) -> nn.Module:
    """Build a config's projector (the neck of its online network), fill it, and put it in evaluation mode.

    Raises:
        EvaluationError: The config has no neck, or the checkpoint none that fits.
    """
    model = cfg.get('model') or {}
    neck = (model.get('algorithm') or model).get('neck')
    if not neck:
        raise EvaluationError(f'{cfg.filename or "the config"}: its algorithm has no neck, so no projector')
    # DINO names its head's class itself.
    neck = {'type': 'repre_mm.DINONeck', **neck} if 'type' not in neck else dict(neck)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain'), torch.random.fork_rng():
        torch.manual_seed(seed)
        projector = MODELS.build(neck)
        if str(checkpoint) == RANDOM and hasattr(projector, 'init_weights'):
            projector.init_weights()
    if str(checkpoint) != RANDOM:
        content = read_checkpoint(checkpoint)
        tensors = content.get('state_dict', content)
        state = {name.removeprefix('neck.'): value for name, value in tensors.items() if name.startswith('neck.')}
        if not state:
            raise EvaluationError(
                f'{checkpoint} holds no projector (neck.*): give the training checkpoint, not an exported encoder'
            )
        try:
            projector.load_state_dict(state)
        except RuntimeError as error:
            raise EvaluationError(f'the projector in {checkpoint} does not fit the config: {error}') from error
    projector.eval()
    return projector.requires_grad_(False)


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


@torch.no_grad()
def represent(
    encoder: FrozenEncoder, projector: nn.Module, pixels: np.ndarray, windows: Tensor, batch_size: int = 128
) -> dict[str, Tensor]:
    """Both representations of patches, each encoded on its own as a view of training is.

    A patch is cut out, brought to the encoder's input size, and passed through the encoder, whose vector is the first
    representation, and from there through the projector, which gives the second.

    Args:
        encoder: The encoder.
        projector: See :func:`load_projector`; on the encoder's device.
        pixels: (H, W, 3) uint8 RGB.
        windows: (N, 4), see :func:`cut_windows`; all of one size.
        batch_size: Patches at a time.

    Returns:
        ``'encoder'`` (N, C) and ``'projector'`` (N, D), of unit length, on the CPU.
    """
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
    found: dict[str, list[Tensor]] = {name: [] for name in REPRESENTATIONS}
    for part in windows.split(batch_size):
        patches = torch.stack([image[:, top:bottom, left:right] for left, top, right, bottom in part.tolist()])
        size = (encoder.image_size, encoder.image_size)
        patches = F.interpolate(patches.float(), size, mode='bicubic', antialias=True).clamp(0, 255)
        heard: list[tuple[Tensor, ...]] = []
        handle = encoder.module.register_forward_hook(lambda module, args, output, heard=heard: heard.append(output))
        try:
            vectors = global_features(encoder.module, encoder.normalised(patches))
        finally:
            handle.remove()
        # The projector pools maps itself, as in training, so it gets the encoder's own output.
        projections = projector(heard[0])
        projections = projections[0] if isinstance(projections, (tuple, list)) else projections
        found['encoder'].append(F.normalize(vectors.float(), dim=1).cpu())
        found['projector'].append(F.normalize(projections.float(), dim=1).cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}


def retrieve(
    encoder: FrozenEncoder,
    projector: nn.Module,
    query: str | os.PathLike,
    box: Box,
    paths: Sequence[str | os.PathLike],
    *,
    top: int = 24,
    stride: float = 0.5,
    batch_size: int = 128,
    progress: bool = True,
) -> dict[str, list[Hit]]:
    """The patches nearest to a query, by cosine, for both representations. Only the best are kept in memory.

    All images are searched with windows of the query's size in pixels. The query itself, and whatever overlaps it, is
    left out where its own image is among them.

    Args:
        encoder: The encoder.
        projector: Its projector.
        query: The image of the query.
        box: Left, top, width and height of the query, in pixels.
        paths: Images to search.
        top: How many to find.
        stride: See :func:`cut_windows`.
        batch_size: Patches at a time.
        progress: Show a progress bar with the time left.

    Returns:
        ``'encoder'`` and ``'projector'``, each with the hits, nearest first.

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
    wanted = represent(encoder, projector, pixels, corners)
    own = Path(query).resolve()
    best: dict[str, list[Hit]] = {name: [] for name in REPRESENTATIONS}
    for path in tqdm(paths, desc='searching', unit='image', disable=not progress):
        pixels = read_image(path)
        windows = cut_windows(*pixels.shape[:2], (width, height), stride)
        if Path(path).resolve() == own:
            windows = windows[box_iou(windows.float(), corners.float())[:, 0] == 0]
        if not len(windows):
            continue
        for name, vectors in represent(encoder, projector, pixels, windows, batch_size).items():
            similarities = vectors @ wanted[name][0]
            for i in nms(windows.float(), similarities, MAX_OVERLAP)[:top].tolist():
                x, y, right, bottom = windows[i].tolist()
                best[name].append(Hit(similarities[i].item(), Path(path), (x, y, right - x, bottom - y)))
            best[name] = sorted(best[name], key=lambda hit: -hit.similarity)[:top]
    return best


def retrieval_sheet(query: str | os.PathLike, box: Box, hits: dict[str, list[Hit]]) -> np.ndarray:
    """The query in its image, and the hits of each representation, nearest first, six in a row.

    Each tile shows a patch (framed in red) with half its size around it, black beyond the image.

    Returns:
        (H, W, 3) uint8.
    """
    image = Image.fromarray(read_image(query))
    left, top, width, height = box
    thickness = max(2, round(max(image.size) / 150))
    ImageDraw.Draw(image).rectangle((left, top, left + width - 1, top + height - 1), outline=_RED, width=thickness)
    blocks = [_block(found) for found in hits.values()]
    captions = ['query', *(f'{name}: nearest {len(found)}' for name, found in hits.items())]
    return sheet([[np.array(image), *blocks]], captions)


def _block(hits: list[Hit]) -> np.ndarray:
    """Tiles in rows of six."""
    canvas = Image.new('RGB', (_COLUMNS * _TILE, -(-max(len(hits), 1) // _COLUMNS) * _TILE), 'white')
    for index, hit in enumerate(hits):
        left, top, width, height = hit.box
        around = (left - width // 2, top - height // 2, left + width + width // 2, top + height + height // 2)
        image = Image.fromarray(read_image(hit.path)).crop(around)
        side = _TILE - 4
        ImageDraw.Draw(image).rectangle(
            (left - around[0], top - around[1], left - around[0] + width - 1, top - around[1] + height - 1),
            outline=_RED,
            width=max(1, round(max(image.size) / 50)),
        )
        # The longer side fills the tile.
        scale = side / max(image.size)
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        canvas.paste(image, (index % _COLUMNS * _TILE, index // _COLUMNS * _TILE))
    return np.array(canvas)
