"""List the files under a folder, with one clear error where that cannot be done."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from repre_mm.utils.errors import UserError

IMAGE_EXTENSIONS = (
    *('.jpg', '.jpeg', '.png', '.bmp', '.gif', '.webp', '.tif', '.tiff', '.ppm', '.pgm'),
    *('.heic', '.heif'),
)


class DatasetError(UserError):
    """Data that cannot be used; the message names the place and the fix."""


def walk(folder: str | os.PathLike, watched: dict[str, Any] | None = None) -> Iterator[str]:
    """List the files under a folder one by one, at any depth.

    Links to files and folders are followed, each folder is visited once, hidden entries are skipped.

    Args:
        folder: The folder.
        watched: Gets the time and size of each folder that is listed, as :func:`repre_mm.datasets.storage.version`.

    Returns:
        Paths relative to ``folder``, sorted.

    Raises:
        DatasetError: ``folder`` is missing or no directory, or a folder in it cannot be listed.
    """
    if not os.path.isdir(folder):
        if os.path.exists(folder):
            raise DatasetError(
                f'not a folder but a file: {folder}. Name a folder, a list (.txt, .csv), .tar or .parquet, or unpack it'
            )
        parent = next((parent for parent in Path(folder).absolute().parents if parent.is_dir()), None)
        raise DatasetError(f'no such folder: {folder} (the nearest that exists is {parent})')
    visited, pending = set(), ['']  # folders end with a slash, by which they sort among the files
    while pending:
        path = pending.pop()
        if path and not path.endswith('/'):
            yield path
            continue
        place = os.path.join(folder, path)
        try:
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in visited:  # a link back up, or a second link to the same folder
                continue
            visited.add((status.st_dev, status.st_ino))
            if watched is not None:
                watched[place] = [status.st_mtime_ns, status.st_size]
            with os.scandir(place) as entries:
                names = [entry.name + '/' * entry.is_dir() for entry in entries if not entry.name.startswith('.')]
        except OSError as error:
            cause = error.strerror or str(error)
            raise DatasetError(
                f'{cause[0].lower()}{cause[1:]}: cannot list the folder {place.rstrip("/")}. Its images would be '
                'missing without a word: make it readable, or move it out of the data'
            ) from error
        pending += sorted((path + name for name in names), reverse=True)
