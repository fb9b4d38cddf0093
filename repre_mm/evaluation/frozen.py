"""What the pictures are made from: frozen encoders, whole RePre models, and the images to show them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from repre_mm.checkpoint import read_checkpoint
from repre_mm.datasets import ImageFolder
from repre_mm.evaluation.features import extract_features
from repre_mm.evaluation.protocol import RANDOM, EvaluationError, evaluation_pipeline, load_frozen_encoder

_BATCH = 64


@dataclass(frozen=True)
class FrozenEncoder:
    """An encoder with what its images need.

    Attributes:
        module: In evaluation mode, without gradients, on its device.
        mean: Per channel, in units of [0, 255].
        std: Likewise.
        image_size: Side of its square crops, in pixels.
    """

    module: nn.Module
    mean: Sequence[float]
    std: Sequence[float]
    image_size: int

    @classmethod
    def load(
        cls, cfg: Config, checkpoint: str | os.PathLike, *, size: int | None, device: str, seed: int = 0
    ) -> FrozenEncoder:
        """See :func:`repre_mm.evaluation.load_frozen_encoder`; ``size`` replaces the config's ``image_size``."""
        size = size or cfg.get('image_size')
        if not size:
            raise EvaluationError(f'{cfg.filename or "the config"} does not set image_size: give --size PIXELS')
        module, mean, std = load_frozen_encoder(cfg, checkpoint, seed=seed)
        return cls(module.to(device), mean, std, size)

    def normalised(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> the same, normalised as in training, on the encoder's device."""
        device = next(self.module.parameters()).device
        mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (self.mean, self.std))
        return (images.to(device).float() - mean) / std

    def features(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 -> (N, C) vectors on the CPU."""
        batches = [(batch, torch.zeros(len(batch))) for batch in images.split(_BATCH)]
        device = next(self.module.parameters()).device
        return extract_features(self.module, batches, mean=self.mean, std=self.std, device=device)[0]


class ImageSource:
    """The images of a folder: of its ``val``, where there is one; with labels, where they lie in class folders.

    Args:
        root: The folder.
        workers: Loading processes for more than a handful of images.

    Raises:
        repre_mm.datasets.DatasetError: There are no images.
    """

    def __init__(self, root: str | os.PathLike, workers: int = 2) -> None:
        self.root = Path(root).expanduser()
        self.split = 'val' if (self.root / 'val').is_dir() else None
        self.workers = workers
        dataset = self._dataset([])
        self.classes: tuple[str, ...] | None = dataset.metainfo.get('classes')
        self.labels = np.array([dataset.get_cat_ids(i)[0] for i in range(len(dataset))]) if self.classes else None
        self.count = len(dataset)

    def sample(self, count: int, seed: int = 0) -> list[int]:
        """Indices of so many random images, or of all where there are fewer."""
        order = np.random.default_rng(seed).permutation(self.count)
        return [int(index) for index in order[:count]]

    def sample_classes(self, classes: int, per_class: int, seed: int = 0) -> list[int]:
        """Indices of at most ``per_class`` random images of each of so many random classes.

        Raises:
            EvaluationError: The images have no classes.
        """
        if self.labels is None:
            raise EvaluationError(
                f'{self.root} has no classes: the images must lie in one folder per class, {self.root}/<class>/ or '
                f'{self.root}/val/<class>/'
            )
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.permutation(len(self.classes))[:classes])
        return [int(i) for label in chosen for i in rng.permutation(np.flatnonzero(self.labels == label))[:per_class]]

    def load(self, indices: Sequence[int], size: int) -> Tensor:
        """Evaluation crops (N, 3, size, size), uint8 RGB. A damaged file is replaced by another one, which is logged.

        The field of view does not depend on the size.
        """
        loader = DataLoader(
            Subset(self._dataset(evaluation_pipeline(size)), list(indices)),
            batch_size=_BATCH,
            num_workers=self.workers if len(indices) > _BATCH else 0,
            collate_fn=lambda items: torch.stack([item['inputs'] for item in items]),
        )
        return torch.cat(list(tqdm(loader, desc=f'loading {len(indices)} images', unit='batch')))

    def _dataset(self, pipeline: list) -> ImageFolder:
        return ImageFolder(str(self.root), split=self.split, pipeline=pipeline)


def load_repre(cfg: Config, checkpoint: str | os.PathLike, seed: int = 0) -> nn.Module:
    """Build a whole RePre model, fill it and put it in evaluation mode.

    Args:
        cfg: Its config.
        checkpoint: A training checkpoint, read without unpickling, or ``'random'``.
        seed: Of random weights.

    Raises:
        EvaluationError: The config's model does not reconstruct, or the checkpoint is of another one.
        repre_mm.checkpoint.CheckpointError: The checkpoint is unreadable.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmpretrain'), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MODELS.build({'data_preprocessor': cfg.get('data_preprocessor'), **cfg.model})
    if not hasattr(model, 'reconstruct'):
        raise EvaluationError(
            f'{cfg.filename or "the config"}: model.type={cfg.model.type!r} does not reconstruct; give a config of '
            "type='repre_mm.RePreAlgorithm'"
        )
    if str(checkpoint) != RANDOM:
        state = read_checkpoint(checkpoint)
        try:
            model.load_state_dict(state.get('state_dict', state))
        except RuntimeError as error:
            raise EvaluationError(
                f'{checkpoint} does not fit {cfg.filename or "the config"}; reconstruction needs the whole training '
                f'checkpoint, not an exported encoder: {str(error)[:500]}'
            ) from error
    return model.eval()
