"""A folder of images on a server that fsspec reaches, such as ``s3://bucket/images``."""

from __future__ import annotations

from collections.abc import Iterator

from repre_mm.datasets.listing import DatasetError
from repre_mm.datasets.sources.base import Entry, Source
from repre_mm.datasets.storage import explained, open_filesystem, read_part


class RemoteFolder(Source):
    """Every image under a prefix, at any depth, in the order of the paths, as :class:`Folder` on this machine."""

    tree = True

    def entries(self) -> Iterator[Entry]:
        """List the prefix; see :meth:`Source.entries`."""
        if self.place.startswith(('http://', 'https://')):
            raise DatasetError(
                f'{self.place}: a web server lists no folders. Name shards (.tar) there, or a list of addresses (.txt)'
            )
        with explained(self.place):
            filesystem, root = open_filesystem(self.place)
            paths = sorted(key[len(root) :].lstrip('/') for key in filesystem.find(root))
        paths = [path for path in paths if not any(part.startswith('.') for part in path.split('/'))]
        return ({'img_path': paths[index]} for index in self.select(paths))

    def read(self, entry: Entry) -> bytes:
        """Read one file; see :meth:`Source.read`."""
        return read_part(self.name(entry))
