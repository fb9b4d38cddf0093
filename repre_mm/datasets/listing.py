"""Listing the images under a folder, with one clear error when there is nothing to list."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

IMAGE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.gif', '.webp', '.tif', '.tiff', '.ppm', '.pgm')


class DatasetError(ValueError):
    """A folder that cannot serve as a dataset; the message names the path and the fix."""


def find_images(folder: str | os.PathLike, extensions: Sequence[str] = IMAGE_EXTENSIONS) -> list[str]:
    """Paths of all images under a folder, at any depth.

    Links to files and folders are followed, each folder is visited once, hidden entries are skipped. A
    progress bar appears when listing takes longer than two seconds.

    Args:
        folder: where to look.
        extensions: ends of file names that count as images, in any case.

    Returns:
        Paths relative to ``folder``, sorted.

    Raises:
        DatasetError: ``folder`` is missing, no directory, holds no image, or cannot be read, in whole or in
            part.
    """
    folder = Path(folder)
    if not folder.exists():
        raise DatasetError(f'no such folder: {folder}{_nearest_parent(folder)}')
    if not folder.is_dir():
        raise DatasetError(f'not a folder but a file: {folder}')
    extensions = tuple(extension.lower() for extension in extensions)

    others: Counter[str] = Counter()
    visited: set[tuple[int, int]] = set()
    images, top_folders = _list_one(str(folder), '', extensions, others, visited)
    for top in tqdm(top_folders, desc=f'listing {folder}', unit=' folders', delay=2, disable=None):
        pending = [top]
        while pending:
            found, below = _list_one(str(folder), pending.pop(), extensions, others, visited)
            images += found
            pending += below
    if not images:
        raise DatasetError(
            f'no images under {folder}: looked for {" ".join(extensions)}, found {_describe_others(others)}'
        )
    images.sort()
    return images


def has_image(folder: str | os.PathLike, extensions: Sequence[str] = IMAGE_EXTENSIONS) -> bool:
    """Whether there is any image under a folder; stops at the first one, so a large set costs nothing."""
    walk = os.walk(folder, followlinks=True)
    return any(name.lower().endswith(tuple(extensions)) for _, _, names in walk for name in names)


def _list_one(
    root: str, relative: str, extensions: tuple[str, ...], others: Counter, visited: set[tuple[int, int]]
) -> tuple[list[str], list[str]]:
    """Images and sub-folders of one folder, relative to ``root``; counts other files by extension."""
    images: list[str] = []
    folders: list[str] = []
    path = os.path.join(root, relative)
    try:
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in visited:  # a link back up, or a second link to the same folder
            return images, folders
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith('.'):
                    continue
                entry_path = os.path.join(relative, entry.name)
                if entry.is_dir():
                    folders.append(entry_path)
                elif not entry.is_file():
                    others['(broken link)'] += 1
                elif entry.name.lower().endswith(extensions):
                    images.append(entry_path)
                else:
                    others[os.path.splitext(entry.name)[1].lower() or '(no extension)'] += 1
    except PermissionError as error:
        raise DatasetError(f'no permission to read the folder {path}: {error.strerror}') from error
    except OSError as error:
        raise DatasetError(f'cannot list the folder {path}: {error.strerror}') from error
    return images, sorted(folders)


def _describe_others(others: Counter) -> str:
    if not others:
        return 'no files at all'
    return ', '.join(f'{count:,} {kind} file{"s" if count > 1 else ""}' for kind, count in others.most_common(5))


def _nearest_parent(folder: Path) -> str:
    parent = next((parent for parent in folder.absolute().parents if parent.is_dir()), None)
    return f' (the nearest that exists is {parent})' if parent else ''
