"""Folders of images: on this machine, or on a server that fsspec reaches, such as ``s3://bucket/images``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import fsspec

from repre_mm.datasets.listing import IMAGE_EXTENSIONS, DatasetError, walk
from repre_mm.datasets.sources.base import Entry, Source
from repre_mm.datasets.storage import explained


def find_images(folder: str | os.PathLike, extensions: Sequence[str] = IMAGE_EXTENSIONS) -> list[str]:
    """Find all images under a folder, at any depth.

    Returns:
        Paths relative to ``folder``, sorted.

    Raises:
        DatasetError: ``folder`` is missing, no directory, holds no image, or cannot be read, wholly or in part.
    """
    return [entry['img_path'] for entry in Folder(os.fspath(folder), extensions).images()]


class Folder(Source):
    """Every image under a folder, at any depth, in the order of the paths."""

    tree = True

    def entries(self) -> Iterator[Entry]:
        """List the folder; see :meth:`Source.entries`."""
        return ({'img_path': path} for path in walk(self.place, self.watched) if self.is_image(path))


class RemoteFolder(Source):
    """Every image under a prefix, in the same order."""

    tree = True

    def entries(self) -> Iterator[Entry]:
        """List the prefix; see :meth:`Source.entries`."""
        if self.place.startswith(('http://', 'https://')):
            raise DatasetError(
                f'{self.place}: a web server lists no folders. Name shards (.tar) there, or a list of addresses (.txt)'
            )
        with explained(self.place):
            filesystem, root = fsspec.url_to_fs(self.place)
            paths = sorted(key[len(root) :].lstrip('/') for key in filesystem.find(root))
        return ({'img_path': path} for path in paths if '/.' not in f'/{path}' and self.is_image(path))
