"""A folder of images as a dataset: flat, nested, or one folder per class; damaged files are replaced."""

import logging
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.dataset import BaseDataset
from mmengine.dataset.base_dataset import force_full_init
from mmengine.logging import print_log

from repre_mm.datasets.listing import IMAGE_EXTENSIONS, DatasetError, find_images
from repre_mm.datasets.reading import ImageReadError
from repre_mm.registry import DATASETS

#: Default share of unreadable files above which a training stops.
MAX_BAD_SHARE = 0.1
# A share of few files says little: with 5 % bad files, more than 10 % of the first 100 are bad in 1 of 90 runs, of the
# first 20 in 1 of 13.
_READS_BEFORE_JUDGING = 100
_READ, _BAD = 1, 2
_SPLIT_NAMES = ('train', 'val', 'test')


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """Every image under a folder, at any depth.

    Symbolic links are followed, hidden files and folders are skipped, paths are sorted. The folder is listed and
    checked at construction.

    A file that cannot be read is replaced by another one, drawn by its index so that a rerun draws the same; its path,
    the cause and the number of bad files so far are logged once, as an error, which shows from every rank. The
    data-loading workers of a process count together. Above ``max_bad_share`` of bad files reading stops. With
    ``test_mode=True`` nothing is replaced: an evaluation is over all files or fails.

    Args:
        root: The folder.
        split: A sub-folder of ``root``. ``'train'`` means all of ``root`` where there is neither a ``train`` nor a
            ``val`` sub-folder. ``None`` reads all of ``root``.
        labels: ``True``: the folders directly below ``root`` or its split are the classes, numbered in the order of
            their sorted names; ``False``: no labels; ``'auto'``: labels if every image lies in such a folder and there
            are at least two, other than ``train``, ``val`` and ``test``.
        pipeline: Transforms; the first is ``repre_mm.LoadImage``, the last packs the inputs.
        extensions: Extensions of images, in any case.
        metainfo: As in mmengine. ``classes`` in it fixes the names and the order of the classes, for instance to those
            of the training split; a folder that is not among them is an error.
        indices: As in mmengine: these images, or the first ``indices`` of them.
        test_mode: Do not replace unreadable images.
        max_refetch: Give up on an item after this many unreadable replacements in a row.
        max_bad_share: Stop when more than this share of the files read so far is bad, judged from 100 reads on, or from
            the whole of a smaller set.

    Raises:
        DatasetError: At construction: the folder is missing, unreadable, without images, or not laid out as ``split``,
            ``labels`` and ``metainfo`` demand. In ``__getitem__``: too many bad files.
        ImageReadError: In ``__getitem__``, with ``test_mode=True``.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        split: str | None = None,
        labels: bool | Literal['auto'] = 'auto',
        pipeline: Sequence[dict | Callable] = (),
        extensions: Sequence[str] = IMAGE_EXTENSIONS,
        metainfo: dict | None = None,
        indices: int | Sequence[int] | None = None,
        test_mode: bool = False,
        max_refetch: int = 20,
        max_bad_share: float = MAX_BAD_SHARE,
    ) -> None:
        check_arguments(labels, max_bad_share)
        self.folder = resolve_split(Path(root).expanduser(), split)
        self.labels = labels
        self.extensions = tuple(extensions)
        self.max_bad_share = max_bad_share
        super().__init__(
            metainfo=metainfo,
            data_root='',
            indices=indices,
            pipeline=list(pipeline),
            test_mode=test_mode,
            max_refetch=max_refetch,
        )
        self._reset_counts()

    def _reset_counts(self) -> None:
        self._causes: dict[str, str] = {}
        # A byte per image, in memory shared by the workers: unread, read or bad.
        self._seen = torch.zeros(len(self), dtype=torch.uint8).share_memory_()

    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep some images only, in place; replacements of unreadable ones come from them, too."""
        super().get_subset_(indices)
        self._reset_counts()

    def load_data_list(self) -> list[dict]:
        """List the folder: dicts of ``img_path`` (relative to it) and, where labelled, ``gt_label``."""
        paths = find_images(self.folder, self.extensions)
        classes = self._find_classes(paths)
        noun = 'image' if len(paths) == 1 else 'images'
        if classes is None:
            print_log(f'found {len(paths):,} {noun} under {self.folder}', logger='current')
            return [{'img_path': path} for path in paths]
        self._metainfo['classes'] = tuple(classes)
        print_log(
            f'found {len(paths):,} {noun} in {len(classes)} class folders under {self.folder}',
            logger='current',
        )
        label_of = {name: label for label, name in enumerate(classes)}
        return [{'img_path': path, 'gt_label': label_of[path.split(os.sep, 1)[0]]} for path in paths]

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Return the entry of one image: complete ``img_path``, ``sample_idx`` and, with labels, ``gt_label``."""
        info = super().get_data_info(idx)
        # Only the part below the folder is stored: 74 bytes an image for names as long as ImageNet's.
        info['img_path'] = os.path.join(self.folder, info['img_path'])
        return info

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the class of one image as a list, as ``mmengine.dataset.ClassBalancedDataset`` needs it."""
        info = self.get_data_info(idx)
        if 'gt_label' not in info:
            raise DatasetError(f'{self.folder} has no labels: there are no class folders or labels=False')
        return [info['gt_label']]

    def __getitem__(self, idx: int) -> Any:
        """Return one image after the pipeline; an unreadable one is replaced (see the class)."""
        if self.test_mode:
            return self.prepare_data(idx)
        draw = random.Random(idx)
        for _ in range(self.max_refetch + 1):
            try:
                item = self.prepare_data(idx)
            except ImageReadError as error:
                self._note_bad_file(idx, error)
            else:
                self._seen[idx] = _READ
                return item
            idx = draw.randrange(len(self))
        raise DatasetError(
            f'{self.max_refetch + 1} images in a row under {self.folder} could not be read:\n{self._describe_bad()}'
        )

    def _note_bad_file(self, idx: int, error: ImageReadError) -> None:
        known = self._seen[idx] == _BAD
        self._seen[idx] = _BAD
        self._causes[error.path] = error.cause
        num_bad, num_read = (self._seen == _BAD).sum().item(), self._seen.count_nonzero().item()
        if not known:
            print_log(
                f'{error}; another image takes its place ({num_bad:,} of {num_read:,} images read so far were bad)',
                logger='current',
                level=logging.ERROR,
            )
        judging = num_read >= min(_READS_BEFORE_JUDGING, len(self))
        if judging and num_bad > self.max_bad_share * num_read:
            raise DatasetError(
                f'{num_bad:,} of {num_read:,} images read under {self.folder} could not be read, more than '
                f'max_bad_share={self.max_bad_share:g}. Repair or remove them, or raise max_bad_share:\n'
                f'{self._describe_bad()}'
            )

    def _describe_bad(self, limit: int = 5) -> str:
        lines = [f'  {path}: {cause}' for path, cause in list(self._causes.items())[:limit]]
        more = (self._seen == _BAD).sum().item() - len(lines)
        return '\n'.join([*lines, f'  and {more:,} more'] if more > 0 else lines)

    def _find_classes(self, paths: Sequence[str]) -> list[str] | None:
        """Find the names of the classes in the order of their labels; None for images without labels."""
        if self.labels is False:
            return None
        stray = next((path for path in paths if os.sep not in path), None)
        found = sorted({path.split(os.sep, 1)[0] for path in paths if os.sep in path})
        if self.labels == 'auto':
            if stray is not None or len(found) < 2:
                return None
            if set(found) <= set(_SPLIT_NAMES):
                names = ', '.join(found)
                print_log(f'reading {names} of {self.folder} together: split=None', 'current', logging.WARNING)
                return None
        if stray is not None:
            raise DatasetError(
                f'labels=True needs every image in a class folder directly below {self.folder}, '
                f'but {stray} lies outside of one'
            )
        known = self._metainfo.get('classes')
        if known is None:
            return found
        if unknown := sorted(set(found) - set(known)):
            raise DatasetError(
                f'class folder {unknown[0]!r} (and {len(unknown) - 1} more) under {self.folder} '
                f'is not among the {len(known)} names in metainfo["classes"]'
            )
        return list(known)


def check_arguments(labels: bool | str, max_bad_share: float) -> None:
    """Check arguments of :class:`ImageFolder`.

    Raises:
        DatasetError: The message names the argument and what it may be.
    """
    if labels not in (True, False, 'auto'):
        raise DatasetError(f"labels={labels!r}: must be True, False or 'auto'")
    if not (isinstance(max_bad_share, (int, float)) and 0 <= max_bad_share <= 1):
        raise DatasetError(f'max_bad_share={max_bad_share!r}: must lie in [0, 1]; 0.1 is 10 %')


def resolve_split(root: Path, split: str | None) -> Path:
    """Find the folder of a split of ``root``; see :class:`ImageFolder`.

    Raises:
        DatasetError: There is no such split.
    """
    if split is None or not root.is_dir():
        return root
    folder = root / split
    if folder.is_dir():
        return folder
    if split == 'train' and not (root / 'val').is_dir():
        return root
    raise DatasetError(f'split={split!r}: there is no folder {folder}. For all images of {root} set split=None')
