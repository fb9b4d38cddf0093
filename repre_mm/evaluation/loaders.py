"""Load images for evaluations: batches of labelled crops, and samples of a folder for pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from repre_mm.datasets import ImageFolder, open_source
from repre_mm.utils.errors import UserError


class EvaluationError(UserError):
    """A config, an encoder or a data folder that cannot be evaluated."""


def evaluation_pipeline(image_size: int, interpolation: str = 'bicubic') -> list[dict]:
    """The standard evaluation crop: short side to 256/224 of the size, antialiased; centre crop."""
    # Pillow filters before it shrinks; OpenCV's bicubic does not, and aliases.
    resize = {'type': 'mmpretrain.ResizeEdge', 'backend': 'pillow', 'interpolation': interpolation}
    return _pipeline(
        {**resize, 'scale': round(image_size * 256 / 224)},
        {'type': 'mmpretrain.CenterCrop', 'crop_size': image_size},
    )


def training_pipeline(image_size: int) -> list[dict]:
    """The augmentation of linear evaluation: a random crop of 8 to 100 % of the area, bilinear; a random flip."""
    crop = {'type': 'mmpretrain.RandomResizedCrop', 'backend': 'pillow', 'interpolation': 'bilinear'}
    return _pipeline(
        {**crop, 'scale': image_size, 'crop_ratio_range': (0.08, 1.0)},
        {'type': 'mmpretrain.RandomFlip', 'prob': 0.5},
    )


def _pipeline(*steps: dict) -> list[dict]:
    return [{'type': 'repre_mm.LoadImage'}, *steps, {'type': 'mmpretrain.PackInputs', 'meta_keys': ('img_path',)}]


def own_rows(rows: Any) -> Any:
    """Take the part of a sequence or a tensor that falls to this process; the parts in order of rank make the whole."""
    rank, count = get_rank(), get_world_size()
    first, last = (-(-len(rows) * each // count) for each in (rank, rank + 1))  # the first processes get more
    return rows[first:last]


class SharedBatches:
    """Batch sampler: of every batch, the rows that fall to this process; every process gets the same number of batches.

    Args:
        dataset: What is sampled.
        batch_size: Rows of all processes together; the last batch may be smaller, and its part may be empty.
        shuffle: Draw a random order that depends on ``seed`` and ``epoch`` only, and give ``(seed, epoch, index)`` for
            each row.

    Attributes:
        first: Row at which to begin.
    """

    def __init__(self, dataset: ImageFolder, batch_size: int, shuffle: bool) -> None:
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.seed = self.epoch = self.first = 0

    def __len__(self) -> int:
        return -(-(len(self.dataset) - self.first) // self.batch_size)

    def __iter__(self) -> Iterator[list]:
        order = torch.arange(len(self.dataset))
        if self.shuffle:
            generator = torch.Generator().manual_seed((self.seed * 100_003 + self.epoch) % 2**32)
            order = torch.randperm(len(order), generator=generator)
        for first in range(self.first, len(order), self.batch_size):
            rows = own_rows(order[first : first + self.batch_size]).tolist()
            yield [(self.seed, self.epoch, row) for row in rows] if self.shuffle else rows


class _Augmented(ImageFolder):
    """An image's augmentation depends on seed, epoch and index alone, not on the process that loads it."""

    def __getitem__(self, key: tuple[int, int, int]) -> Any:
        np.random.seed([number % 2**32 for number in key])  # the transforms draw from numpy
        return super().__getitem__(key[2])


def image_folder_loader(
    root: str | os.PathLike | None,
    split: str,
    image_size: int,
    *,
    batch_size: int = 128,
    workers: int = 2,
    classes: Sequence[str] | None = None,
    strict: bool = True,
    augment: bool = False,
    interpolation: str = 'bicubic',
    decoding: Mapping[str, Any] | None = None,
) -> DataLoader:
    """Load all crops and labels of ``root/split/<class>/*``, in a fixed order unless augmented.

    Of several processes each loads its part of every batch, see :class:`SharedBatches`.

    Args:
        root: The data set.
        split: ``'train'`` or ``'val'``.
        image_size: Of the square crop, in pixels.
        batch_size: Images per batch, of all processes together; the last one may be smaller.
        workers: Loading processes; 0 loads in this one.
        classes: Names of the classes in the order of their labels; default: the folder names, sorted. Give the
            training split's, so that a class without validation images does not shift the labels.
        strict: Stop at an unreadable image; False replaces it, for a score that must not end a training.
        augment: :func:`training_pipeline` in random order, by ``loader.batch_sampler.seed`` and ``.epoch``, instead of
            :func:`evaluation_pipeline` in the order of the paths.
        interpolation: Of the evaluation crop.
        decoding: ``max_pixels`` and ``value_range`` of :class:`repre_mm.datasets.ImageFolder`.

    Returns:
        Batches of (images (B, 3, H, W) uint8 RGB, labels (B,) int64); ``loader.dataset.metainfo['classes']`` names the
        labels.

    Raises:
        EvaluationError: There is no ``root``, or no ``root/split``.
        repre_mm.datasets.DatasetError: It holds no images or no class folders, or unknown classes.
    """
    if not root:
        raise EvaluationError('no data folder: name one (--data DIR), or set data_root in the config')
    source = open_source(root, split)
    if source.tree and Path(source.place) == Path(root).expanduser():  # all of it, for want of such a folder
        raise EvaluationError(
            f'there is no folder {source.place}/{split}: the data must be laid out as {root}/{{train,val}}/<class>/'
        )
    dataset = (_Augmented if augment else ImageFolder)(
        str(root),
        split=split,
        labels=True,
        test_mode=strict,
        metainfo=None if classes is None else {'classes': tuple(classes)},
        **(decoding or {}),
        pipeline=training_pipeline(image_size) if augment else evaluation_pipeline(image_size, interpolation),
    )
    return DataLoader(
        dataset,
        batch_sampler=SharedBatches(dataset, batch_size, shuffle=augment),
        num_workers=workers,
        collate_fn=partial(_collate, image_size),
        generator=torch.Generator(),  # else each pass would draw from the global one
    )


def _collate(image_size: int, items: list[dict]) -> tuple[Tensor, Tensor]:
    images = [torch.empty(0, 3, image_size, image_size, dtype=torch.uint8), *(item['inputs'][None] for item in items)]
    labels = [torch.empty(0, dtype=torch.int64), *(item['data_samples'].gt_label for item in items)]
    return torch.cat(images), torch.cat(labels)


class ImageSource:
    """Images of a place, or of its ``val`` if it has one, with labels if it has them.

    Args:
        root: The place; see :func:`repre_mm.datasets.open_source`.
        decoding: See :func:`repre_mm.datasets.read_image`.

    Raises:
        repre_mm.datasets.DatasetError: There are no images.
    """

    def __init__(self, root: str | os.PathLike, **decoding: Any) -> None:
        self.root, self._decoding = os.path.expanduser(root), decoding
        self.split = 'val' if '{split}' in self.root or os.path.isdir(os.path.join(self.root, 'val')) else None
        dataset = self._dataset([])
        self.classes: tuple[str, ...] | None = dataset.metainfo.get('classes')
        self.labels = dataset.gt_labels() if self.classes else None
        self.count = len(dataset)

    def sample(self, count: int, seed: int = 0) -> list[int]:
        """Draw indices of ``count`` images, or of all if there are fewer."""
        order = np.random.default_rng(seed).permutation(self.count)
        return [int(index) for index in order[:count]]

    def sample_classes(self, classes: int, per_class: int, seed: int = 0) -> list[int]:
        """Draw indices of at most ``per_class`` images of each of ``classes`` random classes.

        Raises:
            EvaluationError: The images have no classes.
        """
        if self.labels is None:
            raise EvaluationError(
                f'{self.root} has no classes: the images must be in {self.root}/<class>/ or {self.root}/val/<class>/'
            )
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.permutation(len(self.classes))[:classes])
        return [int(i) for label in chosen for i in rng.permutation(np.flatnonzero(self.labels == label))[:per_class]]

    def load(self, indices: Sequence[int], size: int) -> Tensor:
        """Load evaluation crops (N, 3, size, size), uint8 RGB, of the same field of view at any size.

        A damaged file is replaced by another one, which is logged.
        """
        dataset = self._dataset(evaluation_pipeline(size))
        few = len(indices) <= 64
        return torch.stack([dataset[i]['inputs'] for i in tqdm(indices, desc='loading', unit='image', disable=few)])

    def _dataset(self, pipeline: list) -> ImageFolder:
        return ImageFolder(self.root, split=self.split, pipeline=pipeline, **self._decoding)
