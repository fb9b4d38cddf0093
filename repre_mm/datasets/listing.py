"""List the images under a folder, with one clear error when there is nothing to list."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from repre_mm.utils.errors import UserError

IMAGE_EXTENSIONS = (
    *('.jpg', '.jpeg', '.png', '.bmp', '.gif', '.webp', '.tif', '.tiff', '.ppm', '.pgm'),
    *('.heic', '.heif'),
)


class DatasetError(UserError):
    """Data that cannot be used; the message names the place and the fix."""


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
        others = other_kinds(listing.others)
        others['(broken link)'] = len(listing.broken_links)
        raise DatasetError(no_images(folder, extensions, others))
    return listing.images


def no_images(place: str | os.PathLike, extensions: Sequence[str], others: Counter[str]) -> str:
    """Word the error of a place that holds no image, but other files of these kinds."""
    kinds = [f'{count:,} {kind} file{"s" if count > 1 else ""}' for kind, count in others.most_common(5) if count]
    found = ', '.join(kinds) or 'no files at all'
    packed = [kind for kind in ('.tar', '.parquet') if others[kind]]
    fix = (
        f"For what is in its {packed[0]} files say '{place}/*{packed[0]}'"
        if packed
        else 'Name the folder that holds them'
    )
    return f'no images under {place}: looked for {" ".join(extensions)}, found {found}. {fix}'


def other_kinds(names: Sequence[str]) -> Counter[str]:
    """Count files by their extension."""
    return Counter(os.path.splitext(name)[1].lower() or '(no extension)' for name in names)


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
        parent = next((parent for parent in folder.absolute().parents if parent.is_dir()), None)
        raise DatasetError(f'no such folder: {folder} (the nearest that exists is {parent})')
    if not folder.is_dir():
        raise DatasetError(
            f'not a folder but a file: {folder}. Name a folder, a list (.txt, .csv), .tar or .parquet, or unpack it'
        )
    *_, listing = tqdm(walk(folder, extensions), desc=f'listing {folder}', unit=' folders', delay=2, disable=None)
    for paths in (listing.images, listing.others, listing.broken_links):
        paths.sort()
    return listing


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
