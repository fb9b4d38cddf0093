"""A folder of images on this machine."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

from repre_mm.datasets.listing import DatasetError, find_images, list_folder, other_kinds, refuse_unreadable, walk
from repre_mm.datasets.reading import read_bytes
from repre_mm.datasets.sources.base import Entry, Source


class Folder(Source):
    """Every image under a folder, at any depth, in the order of the paths; see :func:`list_folder`."""

    tree = True

    def entries(self) -> Iterator[Entry]:
        """List the folder; see :meth:`Source.entries`."""
        listing = list_folder(self.place, self.extensions)
        refuse_unreadable(self.place, listing)
        self.passed_over = other_kinds(listing.others)
        return ({'img_path': path} for path in listing.images)

    def read(self, entry: Entry) -> bytes:
        """Read one file; see :meth:`Source.read`."""
        return read_bytes(self.name(entry))

    def empty(self) -> DatasetError:
        """Say what is there instead of images."""
        try:
            find_images(self.place, self.extensions)
        except DatasetError as error:
            return error
        raise AssertionError(f'{self.place} holds images')

    def count(self, limit: int | None = None) -> int:
        """Count the images without listing all of a large folder."""
        found = 0
        for listing in walk(self.place, self.extensions):
            found = len(listing.images)
            if limit is not None and found >= limit:
                return limit
        return found

    def draw(self, count: int, seconds: float) -> tuple[list[Entry], int]:
        """Draw from some of the sub-folders where listing all takes too long; see :meth:`Source.draw`."""
        if not os.path.isdir(self.place):
            raise self.empty()
        end, rng = time.monotonic() + seconds, random.Random(0)
        for listing in walk(self.place, self.extensions, rng.shuffle):
            if listing.images and time.monotonic() > end:
                break
        refuse_unreadable(self.place, listing)
        paths = rng.sample(sorted(listing.images), min(count, len(listing.images)))
        return [{'img_path': path} for path in paths], len(listing.images)
