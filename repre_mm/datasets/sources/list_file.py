"""A list file of images: one path or URL a line, with or without a label."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator

import fsspec

from repre_mm.datasets.listing import DatasetError
from repre_mm.datasets.sources.base import Entry, Source
from repre_mm.datasets.storage import explained, is_remote, version

_HEADERS = ('path', 'image', 'file', 'filename', 'file_name', 'img_path')


class ListFile(Source):
    """The images that a file names, in its order.

    Paths are relative to the file's folder. A label, the name or the number of a class, comes after a tab in ``.txt``
    and ``.tsv``, and after a comma in ``.csv``, which may have a header (``path,label``). In ``.txt`` a space will do
    before a number, as in ImageNet's own lists.
    """

    def entries(self) -> Iterator[Entry]:
        """Read the list; see :meth:`Source.entries`."""
        self.watched[self.place] = version(self.place)
        with explained(self.place), fsspec.open(self.place, 'rt', encoding='utf-8') as file:
            lines = file.read().splitlines()
        commas = self.place.lower().endswith('.csv')
        rows = csv.reader(lines) if commas else (line.split('\t') for line in lines)
        for number, row in enumerate(rows, 1):
            cells = [cell.strip() for cell in row]
            if not any(cells) or (number == 1 and cells[0].lower() in _HEADERS):
                continue
            if len(cells) == 1 and not commas:
                path, _, last = cells[0].rpartition(' ')
                cells = [path, last] if path and last.isdigit() else cells
            if len(cells) > 2 or not cells[0]:
                raise DatasetError(f'{self.place}, line {number}: write a path, or a path and a label, not {row}')
            entry = {'img_path': cells[0]}
            if len(cells) == 2 and cells[1]:
                entry['label'] = int(cells[1]) if cells[1].isdigit() else cells[1]
            yield entry

    def name(self, entry: Entry) -> str:
        """Complete a path that is relative to the list."""
        path = entry['img_path']
        return path if is_remote(path) else os.path.join(os.path.dirname(self.place), path)

    def empty(self) -> DatasetError:
        """Say that the list has no line."""
        return DatasetError(f'{self.place} names no image: write one path a line')
