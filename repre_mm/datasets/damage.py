"""Find damaged images before a training meets them: all of them, or by a quick sample."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from tqdm import tqdm

from repre_mm.datasets.listing import DatasetError, list_folder, other_kinds
from repre_mm.datasets.reading import MAX_PIXELS, ImageReadError, ValueRange, decode_image
from repre_mm.datasets.sources import Entry, Source
from repre_mm.datasets.sources.folder import Folder
from repre_mm.utils.processes import process_pool

#: Images in a quick sample, and the fewest that are judged where time runs out: with 5 % bad ones, more than 10 % of
#: 100 are bad in 1 of 90 samples.
SAMPLE, FEWEST = 200, 100


@dataclass(frozen=True)
class ImageReport:
    """State of one image.

    Attributes:
        path: Its complete name.
        num_bytes: Size of the file.
        pixels: Height and width, upright; None for a damaged image.
        damage: One of :data:`repre_mm.datasets.reading.KINDS_OF_DAMAGE`; None for a sound image.
        cause: Description of the damage.
    """

    path: str
    num_bytes: int = 0
    pixels: tuple[int, int] | None = None
    damage: str | None = None
    cause: str = ''


@dataclass
class DamageReport:
    """State of all images of a place.

    Attributes:
        place: The place.
        damaged: The images that cannot be read, by path.
        num_images: Number of images, including damaged ones.
        num_bytes: Their size.
        smallest: Shortest side of a sound image, in pixels.
        largest: Longest side.
        unreadable: Folders that cannot be listed -> cause. A training refuses to start with such a folder.
        others: Extension -> number of files that are not named as images and so left out.
        seconds: Time taken.
    """

    place: str
    damaged: list[ImageReport] = field(default_factory=list)
    num_images: int = 0
    num_bytes: int = 0
    smallest: int | None = None
    largest: int | None = None
    unreadable: dict[str, str] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def bad_share(self) -> float:
        """Share of damaged images, in [0, 1]."""
        return len(self.damaged) / max(self.num_images, 1)

    @property
    def damage(self) -> Counter[str]:
        """Kind of damage -> number of images."""
        return Counter(image.damage for image in self.damaged)

    def add(self, image: ImageReport) -> None:
        """Count one image."""
        self.num_images += 1
        self.num_bytes += image.num_bytes
        if image.damage:
            self.damaged.append(image)
        else:
            self.smallest = min(self.smallest or min(image.pixels), *image.pixels)
            self.largest = max(self.largest or 0, *image.pixels)

    def to_dict(self) -> dict[str, Any]:
        """Convert to what JSON can hold."""
        counts = {'num_damaged': len(self.damaged), 'bad_share': self.bad_share, 'damage': dict(self.damage)}
        return {**asdict(self), **counts}


def examine_image(
    source: Source, entry: Entry, max_pixels: int = MAX_PIXELS, value_range: ValueRange = 'depth'
) -> ImageReport:
    """Decode one image, as a training does, and report its damage instead of raising."""
    data, name = b'', source.name(entry)
    try:
        data = source.read(entry)
        pixels = decode_image(name, data, max_pixels=max_pixels, value_range=value_range).shape[:2]
    except ImageReadError as error:
        return ImageReport(name, len(data), damage=error.kind, cause=error.cause)
    return ImageReport(name, len(data), pixels)


def examine(
    source: Source,
    *,
    workers: int = 1,
    max_pixels: int = MAX_PIXELS,
    value_range: ValueRange = 'depth',
    progress: bool = True,
) -> DamageReport:
    """Decode every image, in parallel, with a progress bar.

    Args:
        source: Where the images are.
        workers: Number of processes; 1 reads in the calling process.
        max_pixels: See :func:`repre_mm.datasets.read_image`.
        value_range: See :func:`repre_mm.datasets.read_image`.
        progress: Show the progress bar.

    Raises:
        DatasetError: There is no such place, it holds no image, or a process died.
    """
    start = time.perf_counter()
    report = DamageReport(source.place)
    if isinstance(source, Folder):
        # Goes on where a training would refuse to start: at folders that cannot be listed, and links to nothing.
        listing = list_folder(source.place, source.extensions)
        entries, report.unreadable = [{'img_path': path} for path in listing.images], listing.unreadable
        source.passed_over = other_kinds(listing.others)
        for path in listing.broken_links:
            if path.lower().endswith(source.extensions):
                cause = 'a link to a file that does not exist'
                report.add(ImageReport(source.name({'img_path': path}), damage='unreadable', cause=cause))
        if not (entries or report.damaged or report.unreadable):
            raise source.empty()
    else:
        entries = source.list_all()
    report.others = dict(source.passed_over)
    work = partial(examine_image, source, max_pixels=max_pixels, value_range=value_range)
    with nullcontext() if workers == 1 else process_pool(workers, __name__) as pool:
        chunk = max(1, min(64, len(entries) // (4 * workers)))
        images = map(work, entries) if pool is None else pool.map(work, entries, chunksize=chunk)
        try:
            for image in tqdm(images, desc='reading', total=len(entries), unit=' images', disable=not progress):
                report.add(image)
        except BrokenProcessPool as error:
            raise DatasetError(
                f'a process died while reading about image {report.num_images:,} of {source.place}: out of memory, or '
                'a file that crashes its decoder. Read with one process to see which'
            ) from error
    report.damaged.sort(key=lambda image: image.path)
    report.seconds = round(time.perf_counter() - start, 2)
    return report


def check_sample(
    source: Source,
    max_bad_share: float,
    *,
    max_pixels: int | None = None,
    value_range: ValueRange | None = None,
    seconds: float = 5.0,
    adjustable: bool = True,
) -> None:
    """Decode :data:`SAMPLE` images, drawn evenly; refuse the place if too many of them are damaged.

    Half of the time is for listing; see :meth:`Source.draw`. The draw is the same each time.

    Args:
        source: Where the images are.
        max_bad_share: Largest share of damaged images, in [0, 1].
        max_pixels: See :func:`repre_mm.datasets.read_image`.
        value_range: See :func:`repre_mm.datasets.read_image`.
        seconds: Stop after about this long. With fewer than :data:`FEWEST` images read by then, nothing is judged: the
            dataset judges later, while it reads.
        adjustable: Whether the limit is the dataset's argument ``max_bad_share``, which the message then names.

    Raises:
        DatasetError: Too many images are damaged, or the place cannot be listed; the message names them.
    """
    end = time.monotonic() + seconds
    entries, listed = source.draw(SAMPLE, seconds / 2)
    if not entries:
        raise source.empty()
    report = DamageReport(source.place)
    for entry in entries:
        if time.monotonic() > end:
            break
        report.add(examine_image(source, entry, max_pixels or MAX_PIXELS, value_range or 'depth'))
    if report.bad_share > max_bad_share and report.num_images >= min(FEWEST, len(entries)):
        drawn = '' if report.num_images == listed else 'drawn '
        names = '\n'.join(f'  {image.path}: {image.cause}' for image in report.damaged[:5])
        limit = f'max_bad_share={max_bad_share:g}' if adjustable else f'{max_bad_share:.0%}'
        fix = 'repair or remove them' + (', or raise max_bad_share of the dataset' if adjustable else '')
        raise DatasetError(
            f'{len(report.damaged):,} of {report.num_images:,} images {drawn}under {source.place} cannot be read, more '
            f'than {limit}. See all with `python tools/check_data.py {source.place}`; {fix}:\n{names}'
        )
