"""Which files of an image folder are damaged, before a training meets them: all of them, or a quick sample."""

from __future__ import annotations

import io
import os
import random
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image
from tqdm import tqdm

from repre_mm.datasets.listing import (
    IMAGE_EXTENSIONS,
    DatasetError,
    Listing,
    list_folder,
    list_one,
    refuse_unreadable,
)
from repre_mm.datasets.reading import MAX_PIXELS, ImageReadError, decode_image, read_bytes
from repre_mm.utils.processes import process_pool

#: Files that a quick sample reads, and the fewest that it judges by where time is short: with 5 % bad files, more than
#: 10 % of 100 are bad in 1 of 90 samples.
SAMPLE, FEWEST = 200, 100

_MAGIC = (b'\xff\xd8\xff', b'\x89PNG\r\n', b'GIF8', b'BM', b'II*\0', b'MM\0*', b'RIFF')
_MODES = {'CMYK': 'CMYK', 'YCCK': 'CMYK', 'P': 'palette', 'PA': 'palette', 'L': 'grey', '1': 'grey', 'LA': 'grey'}


@dataclass(frozen=True)
class FileReport:
    """One file.

    Attributes:
        path: relative to the folder.
        num_bytes: its size.
        pixels: height and width, upright; None where it cannot be read.
        damage: one of :data:`repre_mm.datasets.reading.KINDS_OF_DAMAGE`; None for a sound file.
        cause: what is wrong with it, in words.
        conversions: what reading changes about a sound file: ``'CMYK'``, ``'16-bit'``, ``'palette'``, ``'grey'``,
            ``'alpha'``, ``'EXIF rotation'``, ``'animated'`` (the first frame is taken), ``'wrongly named'``.
    """

    path: str
    num_bytes: int = 0
    pixels: tuple[int, int] | None = None
    damage: str | None = None
    cause: str = ''
    conversions: tuple[str, ...] = ()


@dataclass
class DamageReport:
    """A folder.

    Attributes:
        folder: what was read.
        damaged: the files that cannot be read, by path.
        num_images: files that are named as images are, damaged ones included.
        num_bytes: their size.
        smallest: the shortest side of a sound image, in pixels.
        largest: the longest one.
        damage: kind -> number of files.
        conversions: what was changed while reading -> number of files.
        unreadable: folders that cannot be listed -> why. A training refuses to start with such a folder.
        misnamed: images by their content that are left out, since their names do not end as images' do.
        seconds: that it took.
    """

    folder: str
    damaged: list[FileReport] = field(default_factory=list)
    num_images: int = 0
    num_bytes: int = 0
    smallest: int | None = None
    largest: int | None = None
    damage: Counter[str] = field(default_factory=Counter)
    conversions: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    misnamed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def bad_share(self) -> float:
        """Damaged files among all, in [0, 1]."""
        return len(self.damaged) / max(self.num_images, 1)

    def add(self, file: FileReport) -> None:
        """Count one file."""
        self.num_images += 1
        self.num_bytes += file.num_bytes
        self.conversions.update(file.conversions)
        if file.pixels:
            self.smallest = min(self.smallest or min(file.pixels), *file.pixels)
            self.largest = max(self.largest or 0, *file.pixels)
        if file.damage:
            self.damaged.append(file)
            self.damage[file.damage] += 1

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ('folder', 'num_images', 'num_bytes', 'smallest', 'largest', 'unreadable', 'misnamed')
        files = [{'path': file.path, 'damage': file.damage, 'cause': file.cause} for file in self.damaged]
        return {
            **{name: getattr(self, name) for name in names},
            'seconds': round(self.seconds, 2),
            'num_damaged': len(files),
            'bad_share': self.bad_share,
            'damage': dict(self.damage),
            'conversions': dict(self.conversions),
            'damaged': files,
        }


def examine_file(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> FileReport:
    """Read one file as a training does, and say what came of it; never raises for what is in the file."""
    name = os.fspath(path)
    try:
        data = read_bytes(path)
    except ImageReadError as error:
        return FileReport(name, damage=error.kind, cause=error.cause)
    try:
        pixels = decode_image(path, data, max_pixels=max_pixels).shape[:2]
    except ImageReadError as error:
        return FileReport(name, len(data), damage=error.kind, cause=error.cause)
    return FileReport(name, len(data), tuple(pixels), conversions=_conversions(name, data))


def examine_folder(
    folder: str | os.PathLike,
    *,
    workers: int = 1,
    max_pixels: int = MAX_PIXELS,
    extensions: Sequence[str] = IMAGE_EXTENSIONS,
    progress: bool = True,
) -> DamageReport:
    """Read every image under a folder, in parallel, with a progress bar.

    Args:
        folder: any layout.
        workers: processes; 1 reads in this one.
        max_pixels: as :func:`repre_mm.datasets.read_image`.
        extensions: what counts as an image, by the end of its name.
        progress: show a bar with the time left.

    Raises:
        DatasetError: there is no such folder, it holds no image, or a process died.
    """
    start = time.perf_counter()
    listing = list_folder(folder, extensions)
    if not (listing.images or listing.broken_links or listing.unreadable):
        raise DatasetError(f'no images under {folder}: looked for {" ".join(extensions)}')
    report = DamageReport(str(folder), unreadable=listing.unreadable, misnamed=_misnamed(Path(folder), listing))
    named_as_images = tuple(extension.lower() for extension in extensions)
    for path in listing.broken_links:
        if path.lower().endswith(named_as_images):
            report.add(FileReport(path, damage='unreadable', cause='a link to a file that does not exist'))
    examine = partial(_examine_below, str(folder), max_pixels)
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
    report.seconds = time.perf_counter() - start
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
    """Read :data:`SAMPLE` files, drawn evenly, or all of a set as small; refuse a folder with too many damaged ones.

    Half of the time is for listing: of a set that takes longer the files listed by then are drawn from, those of some
    folders. The draw is the same each time.

    Args:
        folder: any layout.
        max_bad_share: in [0, 1].
        extensions: what counts as an image.
        max_pixels: as :func:`repre_mm.datasets.read_image`.
        seconds: stop after about this long. With fewer than :data:`FEWEST` files of more read by then nothing is
            judged here; the dataset judges later, while it reads.
        adjustable: the limit is an argument of the dataset, ``max_bad_share``, and the message says so.

    Raises:
        DatasetError: the share is larger, or a folder cannot be listed; the message names the files.
    """
    end = time.monotonic() + seconds
    rng = random.Random(0)
    listing = _list_until(str(folder), tuple(extensions), end - seconds / 2, rng)
    refuse_unreadable(folder, listing)
    report = DamageReport(str(folder))
    paths = rng.sample(listing.images, min(SAMPLE, len(listing.images)))
    for path in paths:
        if time.monotonic() > end:
            break
        report.add(_examine_below(str(folder), max_pixels, path))
    if report.bad_share > max_bad_share and report.num_images >= min(FEWEST, len(paths)):
        drawn = '' if report.num_images == len(listing.images) else 'drawn '
        listed = '\n'.join(f'  {os.path.join(folder, file.path)}: {file.cause}' for file in report.damaged[:5])
        limit = f'max_bad_share={max_bad_share:g}' if adjustable else f'{max_bad_share:.0%}'
        fix = 'repair or remove them' + (', or raise max_bad_share of the dataset' if adjustable else '')
        raise DatasetError(
            f'{len(report.damaged):,} of {report.num_images:,} images {drawn}under {folder} cannot be read, more than '
            f'{limit}. See all with `python tools/check_data.py {folder}`; {fix}:\n{listed}'
        )


def _list_until(folder: str, extensions: tuple[str, ...], end: float, rng: random.Random) -> Listing:
    """A listing, sorted; where time runs out, of folders in random order."""
    listing, visited, pending = Listing(), set(), ['']
    while pending and (time.monotonic() < end or not listing.images):
        below = list_one(folder, pending.pop(), extensions, listing, visited)
        rng.shuffle(below)
        pending += below
    listing.images.sort()
    return listing


def _examine_below(folder: str, max_pixels: int, path: str) -> FileReport:
    file = examine_file(os.path.join(folder, path), max_pixels=max_pixels)
    return FileReport(path, file.num_bytes, file.pixels, file.damage, file.cause, file.conversions)


def _conversions(path: str, data: bytes) -> tuple[str, ...]:
    """What reading changes, from the file's header."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with Image.open(io.BytesIO(data)) as image:
            mode, kind = image.mode, image.format
            found = [_MODES[mode]] if mode in _MODES else []
            # A PNG's bit depth is its 25th byte; of 16-bit colour Pillow shows 8 bits.
            if mode.startswith('I') or (kind == 'PNG' and data[24] == 16):
                found.append('16-bit')
            if mode.endswith(('A', 'a')) or 'transparency' in image.info:
                found.append('alpha')
            if getattr(image, 'is_animated', False) and kind != 'MPO':
                found.append('animated')
            try:
                if image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1):
                    found.append('EXIF rotation')
            except Exception:  # Pillow raises whatever damaged bytes make it raise; reading passes over such EXIF data
                found.append('damaged EXIF')
    expected = Image.registered_extensions().get(os.path.splitext(path)[1].lower())
    if {kind, expected} - {'JPEG', 'MPO'} and kind != expected:
        found.append('wrongly named')
    return tuple(found)


def _misnamed(folder: Path, listing: Listing) -> list[str]:
    found = []
    for path in listing.others:
        try:
            with (folder / path).open('rb') as file:
                head = file.read(16)
        except OSError:
            continue
        if head.startswith(_MAGIC) and (not head.startswith(b'RIFF') or head[8:12] == b'WEBP'):
            found.append(path)
    return found
