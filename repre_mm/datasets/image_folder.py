"""Images of a folder, of a list, of shards or of a server as a dataset; damaged ones are replaced."""

import logging
import os
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.dataset.base_dataset import force_full_init
from mmengine.logging import print_log

from repre_mm.datasets.index import ImageIndex, index_images
from repre_mm.datasets.labels import find_labels
from repre_mm.datasets.listing import IMAGE_EXTENSIONS, DatasetError
from repre_mm.datasets.reading import ImageReadError, ValueRange, check_library, check_range
from repre_mm.datasets.sources import open_source
from repre_mm.registry import DATASETS

#: Default share of unreadable files above which a training stops.
MAX_BAD_SHARE = 0.1
# A share of few files says little: with 5 % bad files, more than 10 % of the first 100 are bad in 1 of 90 runs, of the
# first 20 in 1 of 13.
_READS_BEFORE_JUDGING = 100
_READ, _BAD = 1, 2


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """Every image of a folder, at any depth, or of another place; see :func:`repre_mm.datasets.sources.open_source`.

    The place is listed and checked at construction.

    An image that cannot be read is replaced by another one, drawn by its index so that a rerun draws the same; its
    name, the cause and the number of bad images so far are logged once, as an error, which shows from every rank. The
    data-loading workers of a process count together. Above ``max_bad_share`` of bad images reading stops. With
    ``test_mode=True`` nothing is replaced: an evaluation is over all images or fails.

    Args:
        root: The place: a folder, a list (``.txt``, ``.csv``), ``shards-{000..003}.tar``, ``.parquet``, a URL, ...
        split: A sub-folder of ``root``, or what ``{split}`` in ``root`` stands for. ``'train'`` means all of ``root``
            where there is neither a ``train`` nor a ``val`` sub-folder. ``None`` reads all of ``root``.
        labels: ``True``: the folders directly below ``root`` or its split are the classes, numbered in the order of
            their sorted names, or the place has labels of its own; ``False``: no labels; ``'auto'``: labels if every
            image lies in such a folder and there are at least two, other than ``train``, ``val`` and ``test``, or if
            every image has a label.
        pipeline: Transforms; the first is ``repre_mm.LoadImage`` or ``repre_mm.FastMultiView``, the last packs.
        extensions: Extensions of images, in any case.
        metainfo: As in mmengine. ``classes`` in it fixes the names and the order of the classes, for instance to those
            of the training split; a class that is not among them is an error.
        indices: As in mmengine: these images, or the first ``indices`` of them.
        test_mode: Do not replace unreadable images.
        max_refetch: Give up on an item after this many unreadable replacements in a row.
        max_bad_share: Stop when more than this share of the files read so far is bad, judged from 100 reads on, or from
            the whole of a smaller set.
        max_pixels: Refuse larger images; default: as the pipeline says.
        value_range: What becomes black and white in 16 and 32-bit images; see :func:`repre_mm.datasets.read_image`.

    Raises:
        DatasetError: At construction: the place is missing, unreadable, without images, or not laid out as ``split``,
            ``labels`` and ``metainfo`` demand. In ``__getitem__``: too many bad files, or a server does not answer.
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
        max_pixels: int | None = None,
        value_range: ValueRange | None = None,
    ) -> None:
        check_arguments(labels, max_bad_share, value_range)
        self.source = open_source(root, split, extensions)
        self.folder = self.source.place
        self.labels = labels
        self.max_bad_share = max_bad_share
        given = {'max_pixels': max_pixels, 'value_range': value_range}
        self._decoding = {key: value for key, value in given.items() if value is not None}
        settings = {'metainfo': metainfo, 'indices': indices, 'test_mode': test_mode, 'max_refetch': max_refetch}
        # mmengine would copy the index into each process.
        super().__init__(data_root='', pipeline=list(pipeline), serialize_data=False, **settings)
        self._reset_counts()

    def _reset_counts(self) -> None:
        # A byte per image, in memory shared by the workers: unread, read or bad.
        self._seen = torch.zeros(len(self), dtype=torch.uint8).share_memory_()

    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep some images only, in place; replacements of unreadable ones come from them, too."""
        super().get_subset_(indices)
        self._reset_counts()

    def _get_unserialized_subset(self, indices: int | Sequence[int]) -> ImageIndex:
        return self.data_list.pick(indices)

    def load_data_list(self) -> ImageIndex:
        """List the place, or take the index that is kept of it; entries have a ``gt_label`` where labelled."""
        index = index_images(self.source)
        check_library(self.source.place, index.header['heic'])
        found = f'found {len(index):,} image{"s" * (len(index) > 1)}'
        known, labels = self._metainfo.get('classes'), None
        if self.labels is not False:
            labels = find_labels(self.source, index, required=self.labels is True, known=known)
        if labels is not None:
            self._metainfo['classes'], index.numbers = labels
            found += f' in {len(labels[0])} {"class folders" if self.source.tree else "classes"}'
        kinds = ', '.join(f'{count:,} {kind}' for kind, count in self.source.passed_over.most_common(5))
        left = f'; passed over by their extension: {kinds}' if kinds else ''
        print_log(f'{found} under {self.folder}{left}', logger='current')
        return index

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Return the entry of one image: complete ``img_path``, ``sample_idx`` and, with labels, ``gt_label``."""
        info = super().get_data_info(idx)
        info['img_path'] = self.source.name(info)
        return info

    def prepare_data(self, idx: int) -> Any:
        """Read one image and pass it through the pipeline."""
        entry = super().get_data_info(idx)
        data = {'img_path': self.source.name(entry), 'img_bytes': self.source.read(entry)}
        return self.pipeline({**entry, **data, **self._decoding})

    def gt_labels(self) -> np.ndarray:
        """Return the classes of all images, (N,) int64.

        Raises:
            DatasetError: They have none.
        """
        if self.data_list.numbers is None:
            raise DatasetError(f'{self.folder} has no labels: there are none in it, or labels=False')
        return self.data_list.gt_labels()

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the class of one image as a list, as ``mmengine.dataset.ClassBalancedDataset`` needs it."""
        return [self.data_list[idx]['gt_label']] if self.data_list.numbers is not None else self.gt_labels()

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
            f'{self.max_refetch + 1} images in a row under {self.folder} could not be read; the log names them'
        )

    def _note_bad_file(self, idx: int, error: ImageReadError) -> None:
        known = self._seen[idx] == _BAD
        self._seen[idx] = _BAD
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
                f'max_bad_share={self.max_bad_share:g}. Repair or remove them, which the log names, or raise '
                f'max_bad_share. The last: {error}'
            )


def check_arguments(labels: bool | str, max_bad_share: float, value_range: ValueRange | None = None) -> None:
    """Check arguments of :class:`ImageFolder`.

    Raises:
        DatasetError: The message names the argument and what it may be.
    """
    if labels not in (True, False, 'auto'):
        raise DatasetError(f"labels={labels!r}: must be True, False or 'auto'")
    if not (isinstance(max_bad_share, (int, float)) and 0 <= max_bad_share <= 1):
        raise DatasetError(f'max_bad_share={max_bad_share!r}: must lie in [0, 1]; 0.1 is 10 %')
    check_range(value_range)
