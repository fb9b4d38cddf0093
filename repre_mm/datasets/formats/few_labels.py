"""A random share of every class of a labelled data set, for learning from few labels."""

from __future__ import annotations

from copy import copy

import torch
from torch.utils.data import Subset

from repre_mm.datasets.image_folder import ImageFolder
from repre_mm.datasets.listing import DatasetError
from repre_mm.registry import DATASETS


@DATASETS.register_module()
class StratifiedSubset(Subset):
    """A random share of each class of a labelled image folder, decided by the seed alone.

    A damaged file is replaced by another one of the share.

    Args:
        dataset: The image folder or its config, with labels.
        share: Of each class, in (0, 1]; rounded, and one image at least.
        seed: Same seed and same files, same images.

    Raises:
        DatasetError: The folder has no labels, or ``share`` is not a share.
    """

    def __init__(self, dataset: dict | ImageFolder, share: float, seed: int = 0) -> None:
        if not 0 < share <= 1:
            raise DatasetError(f'share={share} must be above 0 and at most 1: 0.01 is 1 % of each class')
        if isinstance(dataset, dict):
            dataset = DATASETS.build(dataset)
        labels = torch.as_tensor(dataset.gt_labels())
        generator = torch.Generator().manual_seed(seed)
        chosen = []
        for label in labels.unique():
            members = (labels == label).nonzero().flatten()
            order = torch.randperm(len(members), generator=generator)
            chosen.append(members[order[: max(round(share * len(members)), 1)]])
        # A smaller folder, not indices into the whole one: it replaces damaged files by others of its own only.
        folder = copy(dataset)
        folder.get_subset_(torch.cat(chosen).sort().values.tolist())
        super().__init__(folder, range(len(folder)))

    @property
    def metainfo(self) -> dict:
        """The names of the classes, those of the whole set."""
        return self.dataset.metainfo
