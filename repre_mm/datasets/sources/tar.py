"""Tar shards in WebDataset's layout, indexed once and read by offset."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

from repre_mm.datasets.listing import DatasetError
from repre_mm.datasets.sources.base import Entry, Source
from repre_mm.datasets.storage import expand, explained, read_part, version
from repre_mm.utils.atomic import write_atomically

_LABEL = '.cls'
_FORMAT = 2  # of the index


class TarShards(Source):
    """The images in tar files, in their order.

    ``000123.jpg`` has the label that ``000123.cls`` holds: the name or the number of a class. The index of each shard
    (names, offsets, sizes, labels) is kept in the user's cache, and made again when the shard changes.

    Args:
        place: One tar file or a pattern: ``shards-{000..003}.tar``, ``shards/*.tar``, ``s3://bucket/*.tar``.
        extensions: Extensions of images, in any case.
    """

    @cached_property
    def files(self) -> list[str]:
        return expand(self.place)

    def entries(self) -> Iterator[Entry]:
        """Index the shards, and list what they hold; see :meth:`Source.entries`."""
        for number, shard in enumerate(self.files):
            self.watched[shard] = version(shard)
            index = _read_index(shard, self.watched[shard])
            for name, offset, size in index['files']:
                if self.is_image(name):
                    entry = {'img_path': name, 'at': (number, offset, size)}
                    label = index['labels'].get(_key(name))
                    yield entry if label is None else {**entry, 'label': label}

    def read(self, entry: Entry) -> bytes:
        """Read one image from its shard; see :meth:`Source.read`."""
        number, offset, size = entry['at']
        return read_part(self.files[number], offset, size, self.name(entry))

    def name(self, entry: Entry) -> str:
        """Name an image as ``shard.tar:000123.jpg``."""
        return f'{self.files[entry["at"][0]]}:{entry["img_path"]}'


def _key(name: str) -> str:
    """WebDataset's key of a sample: the path up to the first dot of the file's name."""
    folder, name = os.path.split(name)
    return os.path.join(folder, name.partition('.')[0])


def _read_index(shard: str, version: str | list[int]) -> dict[str, Any]:
    """Read the index of a shard from the cache, or make it."""
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'repre_mm/shards'
    path = cache / f'{hashlib.sha256(f"{_FORMAT} {shard} {version}".encode()).hexdigest()}.json'
    with suppress(OSError, ValueError):  # there is none yet, or nobody may read it, or it is damaged
        return json.loads(path.read_text())
    with explained(shard), fsspec.open(shard, 'rb') as file:
        index = _make_index(shard, file, file.size)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda draft: draft.write_text(json.dumps(index)))
    except OSError:
        pass  # a home that cannot be written: the index is made again next time
    return index


def _make_index(shard: str, file: Any, size: int) -> dict[str, Any]:
    files, labels = [], {}
    try:
        with tarfile.open(fileobj=file, mode='r:') as tar:
            for member in tar:
                if not member.isfile():
                    continue
                if member.name.endswith(_LABEL):
                    text = tar.extractfile(member).read().decode().strip()
                    labels[_key(member.name)] = int(text) if text.isdigit() else text
                files.append((member.name, member.offset_data, member.size))
            complete = tar.offset < size
    except tarfile.ReadError as error:
        raise DatasetError(
            f'{shard} is no plain tar file, or is damaged: {error}. Copy it again; unpack .gz'
        ) from error
    if not complete:
        raise DatasetError(f'{shard} is cut short after {len(files):,} files: copy it again')
    return {'files': files, 'labels': labels}
