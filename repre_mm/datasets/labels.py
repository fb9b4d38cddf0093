"""Labels of images: from class folders, or from what the source says of each image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from mmengine.logging import print_log

from repre_mm.datasets.listing import DatasetError
from repre_mm.datasets.sources import Entry, Source

_SPLIT_NAMES = ('train', 'val', 'test')


class Labels(NamedTuple):
    """Names of the classes in the order of their numbers, and the number of each image's class."""

    classes: tuple[str, ...]
    numbers: list[int]


def find_labels(
    source: Source, entries: Sequence[Entry], *, required: bool, known: Sequence[str] | None
) -> Labels | None:
    """Find the labels of images; None where there are none and none are required.

    Args:
        source: Where the images are.
        entries: All its images.
        required: See ``labels=True`` of :class:`repre_mm.datasets.ImageFolder`.
        known: Names of the classes in the order of their numbers; default: sorted.

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
        return _numbered(source, entries, found, known)
    names = list(known or sorted(map(str, distinct)))
    number_of = {name: number for number, name in enumerate(names)}
    for entry, label in zip(entries, found, strict=True):
        if str(label) not in number_of:
            raise DatasetError(
                f'{source.name(entry)} is of class {str(label)!r}, which is not among the {len(names)} names in '
                'metainfo["classes"] (those of the training split): correct it, or remove the image'
            )
    return Labels(tuple(names), [number_of[str(label)] for label in found])


def _numbered(source: Source, entries: Sequence[Entry], found: list[int], known: Sequence[str] | None) -> Labels:
    names = list(known or source.classes or map(str, range(max(found) + 1)))
    for entry, label in zip(entries, found, strict=True):
        if not 0 <= label < len(names):
            raise DatasetError(
                f'{source.name(entry)} has the label {label}, but there are {len(names)} classes, numbered from 0: '
                'correct it, or remove the image'
            )
    return Labels(tuple(names), found)
