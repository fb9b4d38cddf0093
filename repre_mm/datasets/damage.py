"""Find damaged files in an image folder before a training meets them: all of them, or by a quick sample."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from tqdm import tqdm

from repre_mm.datasets.listing import (
    IMAGE_EXTENSIONS,
    DatasetError,
    list_folder,
    refuse_unreadable,
    walk,
)
from repre_mm.datasets.reading import MAX_PIXELS, ImageReadError, decode_image, read_bytes
from repre_mm.utils.processes import process_pool

#: Files in a quick sample, and the fewest that are judged where time runs out: with 5 % bad files, more than 10 % of
#: 100 are bad in 1 of 90 samples.
SAMPLE, FEWEST = 200, 100


@dataclass(frozen=True)
class FileReport:
    """State of one file.

    Attributes:
        path: Relative to the folder.
        num_bytes: Size of the file.
        pixels: Height and width, upright; None for a damaged file.
        damage: One of :data:`repre_mm.datasets.reading.KINDS_OF_DAMAGE`; None for a sound file.
        cause: Description of the damage.
    """

    path: str
    num_bytes: int = 0
    pixels: tuple[int, int] | None = None
    damage: str | None = None
    cause: str = ''


@dataclass
class DamageReport:
    """State of a folder.

    Attributes:
        folder: The folder.
        damaged: The files that cannot be read, by path.
        num_images: Number of files named as images, including damaged ones.
        num_bytes: Their size.
        smallest: Shortest side of a sound image, in pixels.
        largest: Longest side.
        unreadable: Folders that cannot be listed -> cause. A training refuses to start with such a folder.
        others: Extension -> number of files that are not named as images and so left out.
        seconds: Time taken.
    """

    folder: str
    damaged: list[FileReport] = field(default_factory=list)
    num_images: int = 0
    num_bytes: int = 0
    smallest: int | None = None
    largest: int | None = None
    unreadable: dict[str, str] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def bad_share(self) -> float:
        """Share of damaged files, in [0, 1]."""
        return len(self.damaged) / max(self.num_images, 1)

    @property
    def damage(self) -> Counter[str]:
        """Kind of damage -> number of files."""
        return Counter(file.damage for file in self.damaged)

    def add(self, file: FileReport) -> None:
        """Count one file."""
        self.num_images += 1
        self.num_bytes += file.num_bytes
        if file.damage:
            self.damaged.append(file)
        else:
            self.smallest = min(self.smallest or min(file.pixels), *file.pixels)
            self.largest = max(self.largest or 0, *file.pixels)

    def to_dict(self) -> dict[str, Any]:
        """Convert to what JSON can hold."""
        counts = {'num_damaged': len(self.damaged), 'bad_share': self.bad_share, 'damage': dict(self.damage)}
        return {**asdict(self), **counts}


def examine_file(folder: str | os.PathLike, path: str, max_pixels: int = MAX_PIXELS) -> FileReport:
    """Decode one file of a folder, as a training does, and report its damage instead of raising."""
    data = b''
    try:
        data = read_bytes(os.path.join(folder, path))
        pixels = decode_image(path, data, max_pixels=max_pixels).shape[:2]
    except ImageReadError as error:
        return FileReport(path, len(data), damage=error.kind, cause=error.cause)
    return FileReport(path, len(data), pixels)


def examine_folder(
    folder: str | os.PathLike,
    *,
    workers: int = 1,
    max_pixels: int = MAX_PIXELS,
    extensions: Sequence[str] = IMAGE_EXTENSIONS,
    progress: bool = True,
) -> DamageReport:
    """Decode every image under a folder, in parallel, with a progress bar.

    Args:
        folder: A folder of images, in any layout.
        workers: Number of processes; 1 reads in the calling process.
        max_pixels: See :func:`repre_mm.datasets.read_image`.
        extensions: Extensions of images.
        progress: Show the progress bar.

    Raises:
        DatasetError: There is no such folder, it holds no image, or a process died.
    """
    start = time.perf_counter()
    listing = list_folder(folder, extensions)
    if not (listing.images or listing.broken_links or listing.unreadable):
        raise DatasetError(f'no images under {folder}: looked for {" ".join(extensions)}')
    report = DamageReport(str(folder), unreadable=listing.unreadable, others=dict(listing.other_kinds()))
    named_as_images = tuple(extension.lower() for extension in extensions)
    for path in listing.broken_links:
        if path.lower().endswith(named_as_images):
            report.add(FileReport(path, damage='unreadable', cause='a link to a file that does not exist'))
    examine = partial(examine_file, str(folder), max_pixels=max_pixels)
    with nullcontext() if workers == 1 else process_pool(workers, __name__) as pool:
        chunk = max(1, min(64, len(listing.images) // (4 * workers)))
        files = map(examine, listing.images) if pool is None else pool.map(examine, listing.images, chunksize=chunk)
        bar = tqdm(files, desc='reading', total=len(listing.images), unit=' files', disable=not progress)
        try:
            for file in bar:
                report.add(file)
        except BrokenProcessPool as error:
            raise DatasetError(
                f'a process died while reading about image {report.num_images:,} of {folder}: out of memory, or a '
                'file that crashes its decoder. Read with one process to see which'
            ) from error
    report.damaged.sort(key=lambda file: file.path)
    report.seconds = round(time.perf_counter() - start, 2)
    return report


def check_sample(
    folder: str | os.PathLike,
    max_bad_share: float,
    *,
    extensions: Sequence[str] = IMAGE_EXTENSIONS,
    max_pixels: int = MAX_PIXELS,
    seconds: float = 5.0,
    adjustable: bool = True,
) -> None:
    """Decode :data:`SAMPLE` files of a folder, drawn evenly; refuse the folder if too many of them are damaged.

    Half of the time is for listing. The files of a set that takes longer are drawn from those listed by then, in some
    of its folders. The draw is the same each time.

    Args:
        folder: A folder of images, in any layout.
        max_bad_share: Largest share of damaged files, in [0, 1].
        extensions: Extensions of images.
        max_pixels: See :func:`repre_mm.datasets.read_image`.
        seconds: Stop after about this long. With fewer than :data:`FEWEST` files read by then, nothing is judged: the
            dataset judges later, while it reads.
        adjustable: Whether the limit is the dataset's argument ``max_bad_share``, which the message then names.

    Raises:
        DatasetError: Too many files are damaged, or a folder cannot be listed; the message names them.
    """
    end = time.monotonic() + seconds
    rng = random.Random(0)
    for listing in walk(folder, extensions, rng.shuffle):
        if listing.images and time.monotonic() > end - seconds / 2:
            break
    refuse_unreadable(folder, listing)
    report = DamageReport(str(folder))
    paths = rng.sample(sorted(listing.images), min(SAMPLE, len(listing.images)))
    for path in paths:
        if time.monotonic() > end:
            break
        report.add(examine_file(folder, path, max_pixels))
    if report.bad_share > max_bad_share and report.num_images >= min(FEWEST, len(paths)):
        drawn = '' if report.num_images == len(listing.images) else 'drawn '
        listed = '\n'.join(f'  {os.path.join(folder, file.path)}: {file.cause}' for file in report.damaged[:5])
        limit = f'max_bad_share={max_bad_share:g}' if adjustable else f'{max_bad_share:.0%}'
        fix = 'repair or remove them' + (', or raise max_bad_share of the dataset' if adjustable else '')
        raise DatasetError(
            f'{len(report.damaged):,} of {report.num_images:,} images {drawn}under {folder} cannot be read, more than '
            f'{limit}. See all with `python tools/check_data.py {folder}`; {fix}:\n{listed}'
        )
