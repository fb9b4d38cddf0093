"""Parquet files with a column of images."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any

from mmengine.logging import print_log

from repre_mm.datasets.listing import DatasetError
from repre_mm.datasets.reading import ImageReadError
from repre_mm.datasets.sources.base import Entry, Source
from repre_mm.datasets.storage import expand, explained, open_filesystem

_IMAGES, _LABELS = ('image', 'img', 'jpg', 'bytes'), ('label', 'cls')
_LARGE = 16 * 2**20  # bytes of a row group


class Parquet(Source):
    """The images in Parquet files, in the order of the rows.

    The column ``image`` (or ``img``, ``jpg``, ``bytes``) holds the bytes of image files, alone or as ``bytes`` of a
    struct, as Hugging Face writes them; ``label`` (or ``cls``) names or numbers of classes. Parquet is read by row
    groups: to read one image is to decode its whole group, so that small groups (``row_group_size=16``) are quicker.
    """

    @cached_property
    def _files(self) -> list[str]:
        return expand(self.place)

    def entries(self) -> Iterator[Entry]:
        """List the rows; see :meth:`Source.entries`."""
        for number, path in enumerate(self._files):
            with explained(path):
                yield from self._rows(number, path)

    def _rows(self, number: int, path: str) -> Iterator[Entry]:
        file = _open(path, os.getpid())
        column = _column(file, _IMAGES)
        if column is None:
            raise DatasetError(
                f'{path} has no column {" or ".join(_IMAGES)}, only {", ".join(file.schema_arrow.names)}'
            )
        labels = _column(file, _LABELS)
        row = 0
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            known = file.read_row_group(group, [labels])[labels].to_pylist() if labels else [None] * count
            if number == group == 0 and (size := file.metadata.row_group(0).total_byte_size) > _LARGE:
                print_log(
                    f'{path}: row groups of {size / 2**20:.0f} MiB, of which each image read decodes one; write them '
                    'smaller (row_group_size), or make tar shards',
                    'current',
                    logging.WARNING,
                )
            for place, label in enumerate(known):
                entry = {'img_path': str(row), 'at': (number, group, place)}
                yield entry if label is None else {**entry, 'label': label}
                row += 1

    def read(self, entry: Entry) -> bytes:
        """Read the image of one row; see :meth:`Source.read`."""
        number, group, place = entry['at']
        path = self._files[number]
        with explained(path):
            value = _images(path, group, os.getpid())[place].as_py()
        data = value.get('bytes') if isinstance(value, dict) else value
        if not data:
            raise ImageReadError(self.name(entry), 'the row holds no bytes', 'empty')
        return data

    def name(self, entry: Entry) -> str:
        """Name an image by file and row: ``file.parquet:12``."""
        return f'{self._files[entry["at"][0]]}:{entry["img_path"]}'


@lru_cache(maxsize=8)
def _open(path: str, process: int) -> Any:
    """Open a file once in each process: a forked one must not share its handle."""
    import pyarrow.parquet

    filesystem, key = open_filesystem(path)
    return pyarrow.parquet.ParquetFile(filesystem.open(key, 'rb'))


@lru_cache(maxsize=2)
def _images(path: str, group: int, process: int) -> Any:
    file = _open(path, process)
    column = _column(file, _IMAGES)
    return file.read_row_group(group, [column], use_threads=False)[column]


def _column(file: Any, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in file.schema_arrow.names), None)
