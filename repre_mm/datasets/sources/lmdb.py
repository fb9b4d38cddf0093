"""An LMDB of images: the file's name is the key, its bytes are the value."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from repre_mm.datasets.reading import ImageReadError
from repre_mm.datasets.sources.base import Entry, Source
from repre_mm.datasets.storage import explained


def is_lmdb(place: str) -> bool:
    """Return whether a place is a database: named ``.lmdb``, or a folder with its file."""
    return place.rstrip('/').lower().endswith('.lmdb') or os.path.isfile(os.path.join(place, 'data.mdb'))


class Lmdb(Source):
    """The images in an LMDB, in the order of the keys, which are paths."""

    tree = True

    def entries(self) -> Iterator[Entry]:
        """List the keys; see :meth:`Source.entries`."""
        with self._transaction() as transaction:
            names = sorted(bytes(key).decode() for key in transaction.cursor().iternext(values=False))
        # Keys may be without an extension: then all are images.
        return ({'img_path': names[index]} for index in self.select(names) or range(len(names)))

    def read(self, entry: Entry) -> bytes:
        """Read the value of one key; see :meth:`Source.read`."""
        with self._transaction() as transaction:
            data = transaction.get(entry['img_path'].encode())
        if not data:
            raise ImageReadError(self.name(entry), 'the key has no value', 'empty')
        return data

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        # Opened for each read, which maps the file and no more: LMDB forbids to fork with an open database.
        with explained(self.place):
            import lmdb

            folder = os.path.isdir(self.place)
            with (
                lmdb.open(self.place, subdir=folder, readonly=True, lock=False, readahead=False) as environment,
                environment.begin() as transaction,
            ):
                yield transaction
