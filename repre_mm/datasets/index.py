"""The images of a place as an index: listed by one process, kept in a file, mapped into the memory of the others."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from repre_mm.datasets.reading import HEIC
from repre_mm.datasets.sources import Entry, Source
from repre_mm.datasets.storage import version
from repre_mm.utils.atomic import write_atomically

_FORMAT = 1
# Seconds for which an index is trusted whose place does not show its changes: for all processes of one start.
_TRUSTED = 3600
_CODING = 'utf-8', 'surrogateescape'  # names of files are any bytes
_home: Path | None = None
_made: list[Path] = []  # folders for it, the innermost first


class ImageIndex(Sequence):
    """The entries of the images of a place, or of some of them; 43 bytes an image for names like ImageNet's.

    Args:
        block: A file to map, or bytes: the length of a header, the header (JSON), and for each image where its bytes
            are (int64), where its name ends (int64), which of ``labels`` it has (int32), and its name.
        chosen: Positions of the images in the place; default: all.
        numbers: The number of each of ``labels``, the entries' ``gt_label``; default: entries have none.

    Raises:
        OSError: There is no such file.
        ValueError: It holds no index.
    """

    def __init__(
        self, block: Path | bytes, chosen: Sequence[int] | None = None, numbers: Sequence[int] | None = None
    ) -> None:
        mapped = isinstance(block, Path)
        data = np.asarray(np.memmap(block, mode='r')) if mapped else np.frombuffer(block, np.uint8)
        start = 8 + int(data[:8].view(np.int64)[0])
        self.header = json.loads(data[8:start].tobytes())
        #: Labels that occur, as the source says them: names or numbers; None of images that have none.
        self.labels: list[str | int | None] = self.header['labels']
        images, columns = self.header['images'], self.header['columns']
        parts = np.split(data[start:], np.cumsum([8 * columns * images, 8 * images, 4 * images]))
        self._at, self._ends = parts[0].view(np.int64).reshape(images, columns), parts[1].view(np.int64)
        self._groups, self._names = parts[2].view(np.int32), parts[3]
        self._block, self.chosen, self.numbers = block, range(images) if chosen is None else chosen, numbers

    def __reduce__(self) -> tuple:
        return ImageIndex, (self._block, self.chosen, self.numbers)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, number: int) -> Entry:
        image = int(self.chosen[number])
        start, end = self._ends[image - 1] if image else 0, self._ends[image]
        entry: Entry = {'img_path': self._names[start:end].tobytes().decode(*_CODING)}
        if self._at.size:
            entry['at'] = tuple(self._at[image].tolist())
        if self.numbers is not None:
            entry['gt_label'] = int(self.numbers[self._groups[image]])
        return entry

    def pick(self, indices: int | Sequence[int]) -> ImageIndex:
        """Return the first ``indices`` entries, the last if it is negative, or those named."""
        picked = copy(self)
        if isinstance(indices, int):
            picked.chosen = self.chosen[:indices] if indices >= 0 else self.chosen[indices:]
        else:
            picked.chosen = np.array([self.chosen[index] for index in indices], np.int64)
        return picked

    def first(self, label: str | int | None) -> Entry:
        """Return the entry of the first image of the place that has a label."""
        return self[int((self._groups == self.labels.index(label)).argmax())]

    def gt_labels(self) -> np.ndarray:
        """Return the number of each entry's label, (N,) int64."""
        return np.array(self.numbers, np.int64)[self._groups[self.chosen]]


def keep_indexes(work_dir: str | os.PathLike) -> None:
    """Keep the index of each place in ``work_dir/listings`` from now on, for all processes of a run to share."""
    global _home
    _home = Path(work_dir).absolute() / 'listings'


def forget_indexes() -> None:
    """Remove the folders that this process made for indexes, for a training that does not start."""
    for folder in _made:
        with suppress(OSError):  # something else is in it
            shutil.rmtree(folder) if folder == _home else folder.rmdir()
    _made.clear()


def index_images(source: Source) -> ImageIndex:
    """List all images of a place, or take the index that is kept of it.

    Raises:
        DatasetError: There are none, or the place cannot be listed.
    """
    return kept_index(source) or ImageIndex(_list(source))


def kept_index(source: Source) -> ImageIndex | None:
    """Return the kept index of a place; None without :func:`keep_indexes`, or where nothing can be written.

    One process lists the place if need be, while the others wait for its file; again when a folder or file that was
    read for it has changed, or the index was deleted.

    Raises:
        DatasetError: There are no images, or the place cannot be listed.
    """
    if _home is None:
        return None
    place = os.path.abspath(source.place)
    key = f'{_FORMAT} {type(source).__name__} {place} {source.split} {source.files} {source.extensions}'
    digest = hashlib.sha256(key.encode(*_CODING)).hexdigest()
    path = _home / f'{re.sub("[^a-zA-Z0-9]+", "-", place[-40:]).strip("-")}-{digest[:8]}.index'
    index = _open(path)
    try:
        if index is None:
            if not _home.is_dir():
                source.images(1)  # a place without images leaves no folder behind
                _made[:] = [folder for folder in (_home, *_home.parents) if not folder.exists()]
                _home.mkdir(parents=True, exist_ok=True)
            with (_home / '.lock').open('w') as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if (index := _open(path)) is None:
                    write_atomically(path, lambda draft: draft.write_bytes(_list(source)))
                    index = ImageIndex(path)
    except OSError as error:
        fault = f'cannot write to {_home} ({error.strerror}): each process lists {place} for itself'
        print_log(fault, 'current', logging.WARNING)
        return None
    source.classes, source.passed_over = index.header['classes'], Counter(index.header['passed_over'])
    return index


def _open(path: Path) -> ImageIndex | None:
    """Map a file if its place has not changed since."""
    try:
        index = ImageIndex(path)
        watched, age = index.header['watched'], time.time() - index.header['made']
        current = all(version(name) == then for name, then in watched.items()) if watched else age < _TRUSTED
    except (OSError, ValueError):  # the file or its place is gone or unreadable
        return None
    return index if current else None


def _list(source: Source) -> bytes:
    """List a place into the block of an index."""
    at, ends, groups, names = array('q'), array('q'), array('i'), bytearray()
    labels: dict[str | int | None, int] = {}
    heic, made = 0, time.time()
    for entry in source.scan():
        path = entry['img_path']
        names += path.encode(*_CODING)
        ends.append(len(names))
        at.extend(entry.get('at', ()))
        folder, below, _ = path.partition('/')
        label = (folder if below else None) if source.tree else entry.get('label')
        groups.append(labels.setdefault(label, len(labels)))
        heic += path.lower().endswith(HEIC)
    header = {
        **{'images': len(ends), 'columns': len(at) // len(ends), 'labels': list(labels), 'heic': heic},
        **{'classes': source.classes, 'passed_over': source.passed_over, 'watched': source.watched, 'made': made},
    }
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)  # numbers start at a multiple of their size
    return b''.join([len(text).to_bytes(8, 'little'), text, at, ends, groups, names])
