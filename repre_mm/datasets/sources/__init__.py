"""Places that images are read from, one class a file, chosen by what a place is."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from repre_mm.datasets.listing import IMAGE_EXTENSIONS, DatasetError
from repre_mm.datasets.sources.base import Entry, Source
from repre_mm.datasets.sources.folder import Folder, RemoteFolder
from repre_mm.datasets.sources.hugging_face import HUB, HuggingFace, is_saved
from repre_mm.datasets.sources.list_file import ListFile
from repre_mm.datasets.sources.lmdb import Lmdb
from repre_mm.datasets.sources.tar import TarShards
from repre_mm.datasets.storage import explained, is_remote

__all__ = ['Entry', 'NamedImage', 'Source', 'open_images', 'open_source']

#: The name of an image, and what reads it: (H, W, 3) uint8 RGB.
NamedImage = tuple[str, Callable[[], np.ndarray]]

_SPLIT = '{split}'
_BY_EXTENSION: dict[str, type[Source]] = {
    '.tar': TarShards,
    '.parquet': HuggingFace,
    '.txt': ListFile,
    '.csv': ListFile,
    '.tsv': ListFile,
    '.lmdb': Lmdb,
}


def open_source(
    place: str | os.PathLike, split: str | None = None, extensions: Sequence[str] = IMAGE_EXTENSIONS
) -> Source:
    """Choose the source of a place by what it is.

    Args:
        place: A folder; ``.txt``, ``.csv`` or ``.tsv``: a list; ``.tar`` or ``.parquet``: files, with patterns such as
            ``shards-{000..003}.tar`` or ``*.tar``; ``.lmdb``; what ``datasets`` saved, or ``hf:NAME``. All but the last
            three may be URLs that fsspec reads. ``{split}`` in it stands for the split.
        split: ``'train'``, ``'val'``, ... or None for everything. A folder has them as sub-folders; ``'train'`` means
            all of a place without splits.
        extensions: Extensions of images, in any case.

    Raises:
        DatasetError: There is no such place or split, or a package to read it is missing.
    """
    place = os.fspath(place)
    if _SPLIT in place and split is not None:
        place, split = place.replace(_SPLIT, split), None
    if not is_remote(place):
        place = str(Path(place).expanduser())
    if place.startswith(HUB) or is_saved(place):
        return HuggingFace(place, extensions, split)
    kind = _BY_EXTENSION.get(os.path.splitext(place)[1].lower())
    if kind is None and os.path.isfile(os.path.join(place, 'data.mdb')):
        kind = Lmdb
    if kind is None and is_remote(place):
        return RemoteFolder(_split_folder(place.rstrip('/'), split, _is_remote_folder), extensions)
    if kind is None:
        return Folder(_split_folder(place, split, os.path.isdir), extensions)
    if split not in (None, 'train'):
        raise DatasetError(
            f'{place} has no split {split!r}: write {_SPLIT} where the names differ, as in data-{_SPLIT}.tar'
        )
    return kind(place, extensions)


def open_images(place: str | os.PathLike, **decoding: Any) -> list[NamedImage]:
    """List the names of images, and what reads each.

    Args:
        place: As for :func:`open_source`, or the path or URL of one image.
        decoding: See :func:`repre_mm.datasets.read_image`.

    Raises:
        DatasetError: There is no such place, or no image in it.
    """
    name = os.fspath(place)
    remote, extension = is_remote(name), os.path.splitext(name)[1].lower()
    name = name if remote else os.path.expanduser(name)
    if extension in IMAGE_EXTENSIONS and not (remote or os.path.exists(name)):
        raise DatasetError(f'there is no file or folder {name}')
    single = extension in IMAGE_EXTENSIONS if remote else os.path.isfile(name) and extension not in _BY_EXTENSION
    source = ListFile('') if single else open_source(name)
    entries = [{'img_path': name}] if single else source.images()
    return [(source.name(entry), partial(source.pixels, entry, **decoding)) for entry in entries]


def _is_remote_folder(url: str) -> bool:
    with explained(url):
        filesystem, path = fsspec.url_to_fs(url)
        return filesystem.isdir(path)


def _split_folder(root: str, split: str | None, is_folder: Callable[[str], bool]) -> str:
    if split is None or not is_folder(root):
        return root
    folder = f'{root.rstrip("/")}/{split}'
    if is_folder(folder):
        return folder
    if split == 'train' and not is_folder(f'{root.rstrip("/")}/val'):
        return root
    raise DatasetError(f'split={split!r}: there is no folder {folder}. For all images of {root} set split=None')
