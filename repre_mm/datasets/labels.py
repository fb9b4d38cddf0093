"""Labels of images: from class folders, or from what the source says of each image."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mmengine.logging import print_log

from repre_mm.datasets.listing import DatasetError
from repre_mm.datasets.sources import Entry, Source

_SPLIT_NAMES = ('train', 'val', 'test')


def find_labels(
    source: Source, entries: Sequence[Entry], *, required: bool, known: Sequence[str] | None
) -> tuple[tuple[str, ...], list[int]] | None:
    """Find the labels of images.

    Args:
        source: Where the images are.
        entries: All its images.
        required: See ``labels=True`` of :class:`repre_mm.datasets.ImageFolder`.
        known: Names of the classes in the order of their numbers; default: sorted.

    Returns:
        Names of the classes in the order of their numbers, and the number of each image's class; None where there are
        no labels and none are required.

    Raises:
        DatasetError: An image has no label although labels are required, or a class that is not among ``known``.
    """
    if source.tree:
        found = [path.split('/', 1)[0] if '/' in (path := entry['img_path']) else None for entry in entries]
        need, fault = f'image in a class folder directly below {source.place}', 'lies outside of one'
    else:
        found = [entry.get('label') for entry in entries]
        need, fault = f'line or entry of {source.place} with a label', 'has none'
    distinct = set(found)
    if None in distinct:
        if required or (not source.tree and len(distinct) > 1):
            stray = source.name(entries[found.index(None)])
            raise DatasetError(f'labels=True needs every {need}, but {stray} {fault}. Without labels set labels=False')
        return None
    if not required and source.tree:
        if len(distinct) < 2:
            return None
        if distinct <= set(_SPLIT_NAMES):
            names = ', '.join(sorted(distinct))
            print_log(f'reading {names} of {source.place} together: split=None', 'current', logging.WARNING)
            return None
    if all(isinstance(label, int) for label in distinct):
        names = list(known or source.classes or map(str, range(max(distinct) + 1)))
        number_of = {number: number for number in range(len(names))}
    else:
        found = [str(label) for label in found]
        names = list(known or sorted(set(found)))
        number_of = {name: number for number, name in enumerate(names)}
    for entry, label in zip(entries, found, strict=True):
        if label not in number_of:
            raise DatasetError(
                f'{source.name(entry)} is of class {label!r}, which is not among the {len(names)} classes '
                f'(metainfo["classes"]: those of the training split, numbered from 0): correct it, or remove the image'
            )
    return tuple(names), [number_of[label] for label in found]
