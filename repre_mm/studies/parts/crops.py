"""Crops of parts and of objects, encoded one by one as in the part-aware study."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from repre_mm.datasets.reading import read_image
from repre_mm.evaluation.features import FrozenEncoder, block_tokens
from repre_mm.studies.parts.data import Box, PartData
from repre_mm.studies.parts.patches import patch_map
from repre_mm.utils.errors import UserError


class Crops(Dataset):
    """The patches of one level of a data set. An item holds those of one image: (R, 3, S, S) uint8 and (R,) labels.

    Beyond the image they are black. As in the study (``moco/loader.py``), a patch for training is resized to 256/224 of
    the encoder's size and cropped at its centre, one for validation or retrieval is resized to the size itself.

    Args:
        data: See :class:`PartData`.
        level: ``'part'`` or ``'object'``.
        size: S, the encoder's input size.
        training: Crop the centre.
    """

    def __init__(self, data: PartData, level: str, size: int, training: bool = False) -> None:
        self.data, self.level, self.size, self.training = data, level, size, training

    def __len__(self) -> int:
        return len(self.data.paths)

    def counts(self) -> list[int]:
        """Number of patches of each image."""
        return [len(self._labels(index)) for index in range(len(self))]

    def _labels(self, index: int) -> list[int]:
        regions = self.data.regions[index]
        if self.level == 'part':
            return [region.part for region in regions]
        wholes = {region.instance: region.object for region in regions}
        return [wholes[instance] for instance in sorted(wholes)]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pixels = read_image(self.data.paths[index])
        shape = pixels.shape[:2]
        if self.level == 'part':
            boxes = self.data.part_boxes(index, *shape)
        else:
            wholes = self.data.object_boxes_of(index, *shape)
            boxes = [wholes[instance] for instance in sorted({region.instance for region in self.data.regions[index]})]
        patches = torch.stack([cut(pixels, box, self.size, self.training) for box in boxes])
        return patches, torch.tensor(self._labels(index))


def cut(pixels: np.ndarray, box: Box, size: int, centre: bool = False) -> Tensor:
    """Cut out a box, which may reach beyond the image, and resize it: (H, W, 3) uint8 -> (3, size, size) uint8.

    Bicubic; ``centre`` resizes to 256/224 of ``size`` and keeps the centre.
    """
    left, top, right, bottom = box
    patch = torch.zeros(3, bottom - top, right - left)
    height, width = pixels.shape[:2]
    inner = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
    if inner[0].start < inner[0].stop and inner[1].start < inner[1].stop:
        rows, columns = (
            (part.start - start, part.stop - start) for part, start in zip(inner, (top, left), strict=True)
        )
        patch[:, slice(*rows), slice(*columns)] = torch.from_numpy(pixels[inner].copy()).permute(2, 0, 1).float()
    target = round(size * 256 / 224) if centre else size
    patch = F.interpolate(patch[None], (target, target), mode='bicubic', antialias=True)[0]
    margin = (target - size) // 2
    return patch[:, margin : margin + size, margin : margin + size].round().clamp(0, 255).to(torch.uint8)


def tokens_of(encoder: nn.Module, images: Tensor) -> Tensor:
    """All tokens of the last block after the final norm, class token first: (B, 3, H, W) -> (B, 1 + N, C).

    An encoder without a class token, such as Swin, gives the mean of its patch tokens in its place.
    """
    patches = patch_map(encoder, images).flatten(2).transpose(1, 2)
    if getattr(getattr(encoder, 'model', encoder), 'cls_token', None) is None:
        token = patches.mean(dim=1)
    else:
        ((token, _),) = block_tokens(encoder, images, 1)
    return torch.cat([token[:, None], patches], dim=1).float()


def crop_batches(crops: Crops, batch_size: int, workers: int, progress: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """All patches (B, 3, S, S) uint8 with their labels (B,), in order; the last batch may be smaller."""
    loader = DataLoader(crops, batch_size=1, num_workers=workers, collate_fn=lambda items: items[0])
    images, labels = torch.empty(0, 3, crops.size, crops.size, dtype=torch.uint8), torch.empty(0, dtype=torch.int64)
    for found, targets in tqdm(loader, desc=f'{crops.level}s', unit='image', disable=not progress):
        images, labels = torch.cat([images, found]), torch.cat([labels, targets])
        while len(images) >= batch_size:
            yield images[:batch_size], labels[:batch_size]
            images, labels = images[batch_size:], labels[batch_size:]
    if len(images):
        yield images, labels


@torch.no_grad()
def encode_crops(
    encoder: FrozenEncoder, crops: Crops, *, batch_size: int = 128, workers: int = 2, progress: bool = True
) -> tuple[Tensor, Tensor]:
    """Tokens (R, 1 + N, C) of all patches, float16 on the CPU, and labels (R,); see :func:`tokens_of`.

    Full-size encoders give 0.3 MB per patch; more than 2 GB go to a temporary file.

    Raises:
        UserError: The features are not finite.
    """
    total = sum(crops.counts())
    store, labels, filled = None, [], 0
    for images, targets in crop_batches(crops, batch_size, workers, progress):
        tokens = tokens_of(encoder.module, encoder.normalised(images)).cpu()
        check_finite(tokens)
        store = _allocate(total, tokens.shape[1:]) if store is None else store
        store[filled : filled + len(tokens)] = tokens.half()
        filled += len(tokens)
        labels.append(targets)
    return store, torch.cat(labels)


def check_finite(features: Tensor) -> None:
    """Raise a UserError if features are NaN or infinite."""
    if not features.isfinite().all():
        raise UserError(
            'features are NaN or infinite: the checkpoint comes from a diverged training or another encoder'
        )


def _allocate(count: int, shape: torch.Size) -> Tensor:
    """(count, ...) float16, in a temporary file that ends with the tensor if it is larger than 2 GB."""
    if count * shape.numel() * 2 < 2 << 30:
        return torch.empty(count, *shape, dtype=torch.float16)
    with tempfile.TemporaryFile() as file:
        return torch.from_numpy(np.memmap(file, np.float16, 'w+', shape=(count, *shape)))
