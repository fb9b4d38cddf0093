"""Labels of images: from class folders, or from what the source says of each image."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mmengine.logging import print_log

from repre_mm.datasets.index import ImageIndex
from repre_mm.datasets.listing import DatasetError
from repre_mm.datasets.sources import Source

_SPLIT_NAMES = ('train', 'val', 'test')


def find_labels(
    source: Source, index: ImageIndex, *, required: bool, known: Sequence[str] | None
) -> tuple[tuple[str, ...], list[int]] | None:
    """Number the labels of images.

    Args:
        source: Where the images are.
        index: All its images.
        required: See ``labels=True`` of :class:`repre_mm.datasets.ImageFolder`.
        known: Names of the classes in the order of their numbers; default: sorted.

    Returns:
        Names of the classes in the order of their numbers, and the number of each of ``index.labels``; None where there
        are no labels and none are required.

    Raises:
        DatasetError: An image has no label although labels are required, or a class that is not among ``known``.
    """
    if source.tree:
        need, fault = f'image in a class folder directly below {source.place}', 'lies outside of one'
    else:
        need, fault = f'line or entry of {source.place} with a label', 'has none'
    found = index.labels
    if None in found:
        if required or (not source.tree and len(found) > 1):
            stray = source.name(index.first(None))
            raise DatasetError(f'labels=True needs every {need}, but {stray} {fault}. Without labels set labels=False')
        return None
    if not required and source.tree:
        if len(found) < 2:
            return None
        if set(found) <= set(_SPLIT_NAMES):
            names = ', '.join(sorted(found))
            print_log(f'reading {names} of {source.place} together: split=None', 'current', logging.WARNING)
            return None
    if all(isinstance(label, int) for label in found):
        names = list(known or source.classes or map(str, range(max(found) + 1)))
        number_of = {number: number for number in range(len(names))}
    else:
        found = [str(label) for label in found]
        names = list(known or sorted(set(found)))
        number_of = {name: number for number, name in enumerate(names)}
    for label, said in zip(found, index.labels, strict=True):
        if label not in number_of:
            raise DatasetError(
                f'{source.name(index.first(said))} is of class {label!r}, which is not among the {len(names)} classes '
                f'(metainfo["classes"]: those of the training split, numbered from 0): correct it, or remove the image'
            )
    return tuple(names), [number_of[label] for label in found]
