"""List the images under a folder, with one clear error when there is nothing to list."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from repre_mm.utils.errors import UserError

IMAGE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.gif', '.webp', '.tif', '.tiff', '.ppm', '.pgm')


class DatasetError(UserError):
    """A folder that cannot serve as a dataset; the message names the path and the fix."""


@dataclass
class Listing:
    """Contents of a folder; paths are relative to it, sorted.

    Attributes:
        images: Files with an extension of images.
        others: All other files, except hidden ones.
        broken_links: Links to nothing.
        unreadable: Folders that cannot be listed -> cause.
    """

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    broken_links: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)

    def other_kinds(self) -> Counter[str]:
        """Extension -> number of files other than images."""
        return Counter(os.path.splitext(name)[1].lower() or '(no extension)' for name in self.others)


def find_images(folder: str | os.PathLike, extensions: Sequence[str] = IMAGE_EXTENSIONS) -> list[str]:
    """Find all images under a folder, at any depth; see :func:`list_folder`.

    Returns:
        Paths relative to ``folder``, sorted.

    Raises:
        DatasetError: ``folder`` is missing, no directory, holds no image, or cannot be read, wholly or in part.
    """
    listing = list_folder(folder, extensions)
    refuse_unreadable(folder, listing)
    if not listing.images:
        raise DatasetError(
            f'no images under {folder}: looked for {" ".join(extensions)}, found {_describe_others(listing)}. '
            'Name the folder that holds them'
        )
    return listing.images


def refuse_unreadable(folder: str | os.PathLike, listing: Listing) -> None:
    """Raise a :class:`DatasetError` where a folder could not be listed."""
    if listing.unreadable:
        (path, cause), *more = listing.unreadable.items()
        others = f' (and {len(more):,} more)' if more else ''
        raise DatasetError(
            f'{cause[0].lower()}{cause[1:]}: cannot list the folder {os.path.join(folder, path)}{others}. Its images '
            'would be missing without a word: make it readable, or move it out of the data'
        )


def list_folder(folder: str | os.PathLike, extensions: Sequence[str] = IMAGE_EXTENSIONS) -> Listing:
    """List what lies under a folder, at any depth.

    Links to files and folders are followed, each folder is visited once, hidden entries are skipped. A progress bar
    appears when listing takes longer than two seconds.

    Args:
        folder: The folder.
        extensions: Extensions of images, in any case.

    Raises:
        DatasetError: ``folder`` is missing or no directory.
    """
    folder = Path(folder)
    if not folder.exists():
        raise DatasetError(f'no such folder: {folder}{_nearest_parent(folder)}')
    if not folder.is_dir():
        raise DatasetError(f'not a folder but a file: {folder}')
    *_, listing = tqdm(walk(folder, extensions), desc=f'listing {folder}', unit=' folders', delay=2, disable=None)
    for paths in (listing.images, listing.others, listing.broken_links):
        paths.sort()
    return listing


def has_images(folder: str | os.PathLike, count: int = 1, extensions: Sequence[str] = IMAGE_EXTENSIONS) -> bool:
    """Whether a folder holds at least ``count`` images; stops at that number, so that large sets cost little."""
    return any(len(listing.images) >= count for listing in walk(folder, extensions))


def walk(
    folder: str | os.PathLike,
    extensions: Sequence[str] = IMAGE_EXTENSIONS,
    shuffle: Callable[[list[str]], None] | None = None,
) -> Iterator[Listing]:
    """List a folder step by step: yield the same listing after each folder that was added to it.

    Args:
        folder: The folder.
        extensions: Extensions of images, in any case.
        shuffle: Puts the sub-folders of a folder into another order, in place.
    """
    listing, visited, pending = Listing(), set(), ['']
    extensions = tuple(extension.lower() for extension in extensions)
    while pending:
        below = _list_one(str(folder), pending.pop(), extensions, listing, visited)
        if shuffle:
            shuffle(below)
        pending += below
        yield listing


def _list_one(
    root: str, relative: str, extensions: tuple[str, ...], listing: Listing, visited: set[tuple[int, int]]
) -> list[str]:
    """Add the files of one folder to a listing, its device and inode to ``visited``; return its sub-folders."""
    folders: list[str] = []
    path = os.path.join(root, relative)
    try:
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in visited:  # a link back up, or a second link to the same folder
            return folders
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith('.'):
                    continue
                entry_path = os.path.join(relative, entry.name)
                if entry.is_dir():
                    folders.append(entry_path)
                elif not entry.is_file():
                    listing.broken_links.append(entry_path)
                elif entry.name.lower().endswith(extensions):
                    listing.images.append(entry_path)
                else:
                    listing.others.append(entry_path)
    except OSError as error:
        listing.unreadable[relative] = error.strerror or str(error)
    return sorted(folders)


def _describe_others(listing: Listing) -> str:
    others = listing.other_kinds()
    if listing.broken_links:
        others['(broken link)'] = len(listing.broken_links)
    if not others:
        return 'no files at all'
    return ', '.join(f'{count:,} {kind} file{"s" if count > 1 else ""}' for kind, count in others.most_common(5))


def _nearest_parent(folder: Path) -> str:
    parent = next((parent for parent in folder.absolute().parents if parent.is_dir()), None)
    return f' (the nearest that exists is {parent})' if parent else ''
