"""Segmentation of parts by a frozen encoder and an FCN head, as in the part-aware study.

Source: JiePKU/understand-ssl-part-aware, ``segmentation/configs_local/<encoder>/upernet/*_lp_freeze12.py`` and
``_base_/datasets``: the encoder frozen; mmseg's ``FCNHead`` with ``num_convs=0``, which is a 1x1 convolution on the
outputs of blocks 3, 5, 7 and 11 (zero-based, before the final norm), concatenated; AdamW 4e-4, weight decay 0.05, 1,500
iterations of warm-up, linear decay; 160,000 iterations of 16 images (8 GPUs of 2); background is ignored
(``reduce_zero_label``). The auxiliary head is left out: the encoder is frozen, so it changes nothing. The study trained
in fp16 (apex O1), this trains in fp32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dataset import Compose
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from repre_mm.datasets.reading import read_image
from repre_mm.evaluation.features import FrozenEncoder
from repre_mm.models.taps import encoder_levels
from repre_mm.studies.parts.data import PartData, label_maps
from repre_mm.studies.parts.segmentation import intersection_over_union
from repre_mm.utils.errors import UserError
from repre_mm.utils.modules import eval_mode

IGNORED = 255
LEARNING_RATE, WEIGHT_DECAY = 4e-4, 0.05
ITERATIONS, WARMUP, BATCH_SIZE = 160_000, 1_500, 16


@dataclass(frozen=True)
class Scales:
    """Sizes in pixels.

    Attributes:
        train: (longer, shorter) side of resized training images, times 0.5 to 2.
        test: (longer, shorter) side of resized test images.
        crop: Side of the crops and of the windows that slide over test images.
        stride: Of these windows.
    """

    train: tuple[int, int]
    test: tuple[int, int]
    crop: int
    stride: int

    def scaled(self, crop: int) -> Scales:
        """The same proportions for crops of another size."""
        factor = crop / self.crop
        train, test = (tuple(round(side * factor) for side in sides) for sides in (self.train, self.test))
        return Scales(train, test, crop, round(self.stride * factor))


#: Of the study's data sets; others take ADE20K's.
SCALES = {
    'ade20k': Scales((2048, 512), (2048, 512), 512, 341),
    'pascal-part': Scales((520, 520), (3840, 480), 480, 161),
}


def block_maps(encoder: nn.Module, images: Tensor) -> Tensor:
    """Outputs of the blocks at 1/3, 1/2, 2/3 and the end of the encoder: (B, sum of widths, h, w), float32.

    These are blocks 3, 5, 7 and 11 of 12; of a pyramid its stages, resized to the first one's resolution.
    """
    levels = encoder_levels(encoder)
    indices = [max(round(len(levels) * share) - 1, 0) for share in (1 / 3, 1 / 2, 2 / 3, 1)]
    heard: dict[int, Any] = {}
    handles = [
        levels.modules[i].register_forward_hook(lambda _, __, output, i=i: heard.update({i: output}))
        for i in set(indices)
    ]
    try:
        with eval_mode(encoder), torch.no_grad():
            encoder(images)
    finally:
        for handle in handles:
            handle.remove()
    size = images.shape[-2:]
    maps = [
        levels.to_map(heard[i], tuple(side // step for side, step in zip(size, levels.strides[i], strict=True))).float()
        for i in indices
    ]
    grid = maps[0].shape[-2:]
    return torch.cat([F.interpolate(one, grid, mode='bilinear') if one.shape[-2:] != grid else one for one in maps], 1)


class _TrainingCrops(Dataset):
    """Augmented crops; item n is the n-th draw of the training, the same in every loading process."""

    def __init__(self, data: PartData, level: str, scales: Scales, order: Tensor, seed: int) -> None:
        from mmengine.registry import DefaultScope
        from mmseg.utils import register_all_modules

        register_all_modules(init_default_scope=False)
        self.data, self.level, self.order, self.seed, self.crop = data, level, order, seed, scales.crop
        with DefaultScope.overwrite_default_scope('mmseg'):
            self.augment = Compose(
                [
                    dict(type='RandomResize', scale=scales.train, ratio_range=(0.5, 2.0), keep_ratio=True),
                    dict(type='RandomCrop', crop_size=(scales.crop, scales.crop), cat_max_ratio=0.75),
                    dict(type='RandomFlip', prob=0.5),
                    dict(type='PhotoMetricDistortion'),
                ]
            )

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, n: int) -> tuple[Tensor, Tensor]:
        pixels, labels = _labelled(self.data, self.level, int(self.order[n]))
        state = np.random.get_state()
        np.random.seed((self.seed * 1_000_003 + n) % 2**32)
        try:
            # mmseg works on BGR.
            fields = {'img': pixels[..., ::-1].copy(), 'gt_seg_map': labels.astype(np.uint8)}
            item = self.augment({**fields, 'seg_fields': ['gt_seg_map'], 'img_shape': labels.shape})
        finally:
            np.random.set_state(state)
        image = torch.from_numpy(item['img'][..., ::-1].copy()).permute(2, 0, 1)
        target = torch.from_numpy(item['gt_seg_map'].copy()).long()
        return image, target


def train_head(
    encoder: FrozenEncoder,
    data: PartData,
    level: str,
    scales: Scales,
    *,
    iterations: int = ITERATIONS,
    batch_size: int = BATCH_SIZE,
    workers: int = 2,
    seed: int = 0,
    progress: bool = True,
) -> nn.Conv2d:
    """Train the head on an encoder for images of ``scales.crop`` pixels; warm-up keeps its share of a shorter training.

    Raises:
        UserError: The data has no masks, or more classes than a label map of 8 bits can hold.
    """
    classes = len(data.parts if level == 'part' else data.objects)
    if classes > IGNORED:
        raise UserError(f'{data.source} has {classes} classes; at most {IGNORED} can be segmented')
    device = encoder.device
    mean = torch.tensor(encoder.mean, device=device).view(-1, 1, 1)
    generator = torch.Generator().manual_seed(seed)
    total = iterations * batch_size
    passes = -(-total // len(data.paths))
    order = torch.cat([torch.randperm(len(data.paths), generator=generator) for _ in range(passes)])[:total]
    dataset = _TrainingCrops(data, level, scales, order, seed)
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=workers, collate_fn=list)
    head: nn.Conv2d | None = None
    for step, items in enumerate(tqdm(loader, desc=f'FCN head, {level}s', unit='step', disable=not progress)):
        # Images smaller than the crop are filled with the mean colour, 0 after normalisation.
        images = mean.expand(len(items), 3, scales.crop, scales.crop).clone()
        targets = torch.full((len(items), scales.crop, scales.crop), IGNORED, device=device)
        for row, (image, target) in enumerate(items):
            images[row, :, : image.shape[1], : image.shape[2]] = image.to(device)
            targets[row, : target.shape[0], : target.shape[1]] = target.to(device)
        maps = block_maps(encoder.module, encoder.normalised(images))
        if head is None:
            head = _head(maps.shape[1], classes, seed).to(device)
            optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        optimizer.param_groups[0]['lr'] = learning_rate(step, iterations)
        logits = F.interpolate(head(maps), targets.shape[-2:], mode='bilinear')
        # As mmseg by default: the mean over all pixels, the ignored ones too.
        loss = F.cross_entropy(logits, targets, ignore_index=IGNORED, reduction='none').mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head.eval()


def learning_rate(step: int, iterations: int) -> float:
    """Linear decay to 0, multiplied by a linear warm-up from 1e-6 over its share of 1,500 in 160,000 steps."""
    warmup = max(round(WARMUP * iterations / ITERATIONS), 1)
    factor = 1 - (1 - step / warmup) * (1 - 1e-6) if step < warmup else 1.0
    return LEARNING_RATE * (1 - step / iterations) * factor


@torch.no_grad()
def score_head(
    encoder: FrozenEncoder, head: nn.Conv2d, data: PartData, level: str, scales: Scales, *, progress: bool = True
) -> dict[str, Any]:
    """Slide windows over each image, average the logits, and compare at the size of the file.

    A side that would be shorter than a window is enlarged to it.

    Returns:
        ``miou`` (mean over the classes that occur, in percent) and ``iou`` per class, without background.
    """
    names = data.parts if level == 'part' else data.objects
    counts = torch.zeros(len(names), len(names), dtype=torch.int64)
    for index in tqdm(range(len(data.paths)), desc=f'{level}s, scores', unit='image', disable=not progress):
        pixels, labels = _labelled(data, level, index)
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
        height, width = labels.shape
        longer, shorter = scales.test
        factor = min(longer / max(height, width), shorter / min(height, width))
        size = [max(round(side * factor), scales.crop) for side in (height, width)]
        # mmseg resizes bilinearly, without a filter.
        resized = F.interpolate(image, size, mode='bilinear').to(next(head.parameters()).device)
        logits = torch.zeros(1, len(names), *size, device=resized.device)
        seen = torch.zeros(size, device=resized.device)
        for top, left in _windows(*size, scales):
            window = slice(top, top + scales.crop), slice(left, left + scales.crop)
            maps = block_maps(encoder.module, encoder.normalised(resized[..., window[0], window[1]]))
            logits[..., window[0], window[1]] += F.interpolate(head(maps), (scales.crop, scales.crop), mode='bilinear')
            seen[window] += 1
        guesses = F.interpolate(logits / seen, (height, width), mode='bilinear')[0].argmax(dim=0).cpu()
        labels = torch.from_numpy(labels)
        known = labels != IGNORED
        pairs = labels[known] * len(names) + guesses[known]
        counts += torch.bincount(pairs, minlength=counts.numel()).view_as(counts)
    overlaps = intersection_over_union(counts)
    occurs = overlaps.isfinite()
    iou = {name: value.item() if found else None for name, value, found in zip(names, overlaps, occurs, strict=True)}
    return {'miou': overlaps[occurs].mean().item(), 'iou': iou}


def _windows(height: int, width: int, scales: Scales) -> list[tuple[int, int]]:
    """Upper left corners; the last row and column end with the image."""

    def starts(side: int) -> list[int]:
        last = side - scales.crop
        return [min(start, last) for start in range(0, last + scales.stride, scales.stride)]

    return [(top, left) for top in starts(height) for left in starts(width)]


def _labelled(data: PartData, level: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (H, W, 3) and labels (H, W) int64, :data:`IGNORED` outside of parts."""
    pixels = read_image(data.paths[index])
    masks = data.masks(index, *pixels.shape[:2])
    parts, objects = (np.array(data.labels(kind)[index]) for kind in ('part', 'object'))
    labels = label_maps(masks, parts, objects)[0 if level == 'part' else 1] - 1
    return pixels, np.where(labels < 0, IGNORED, labels)


def _head(width: int, classes: int, seed: int) -> nn.Conv2d:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = nn.Conv2d(width, classes, kernel_size=1)
        nn.init.normal_(head.weight, std=0.01)
        nn.init.zeros_(head.bias)
    return head
