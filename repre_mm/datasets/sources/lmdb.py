"""An LMDB of images: the file's name is the key, its bytes are the value."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from repre_mm.datasets.reading import ImageReadError
from repre_mm.datasets.sources.base import Entry, Source
from repre_mm.datasets.storage import explained, version


class Lmdb(Source):
    """The images in an LMDB, in the order of the keys, which are paths; without extensions all are images."""

    tree = True

    def entries(self) -> Iterator[Entry]:
        """List the keys; see :meth:`Source.entries`."""
        path = os.path.join(self.place, 'data.mdb') if os.path.isdir(self.place) else self.place
        self.watched[path] = version(path)
        with self._transaction() as transaction:
            names = sorted(bytes(key).decode() for key in transaction.cursor().iternext(values=False))
        return ({'img_path': name} for name in [name for name in names if self.is_image(name)] or names)

    def read(self, entry: Entry) -> bytes:
        """Read the value of one key; see :meth:`Source.read`."""
        with self._transaction() as transaction:
            data = transaction.get(entry['img_path'].encode())
        if not data:
            raise ImageReadError(self.name(entry), 'the key has no value')
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
