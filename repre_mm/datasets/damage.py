"""Find damaged images before a training meets them: all of them, or by a quick sample."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from tqdm import tqdm

from repre_mm.datasets.index import kept_index
from repre_mm.datasets.listing import DatasetError
from repre_mm.datasets.reading import ImageReadError
from repre_mm.datasets.sources import Entry, Source
from repre_mm.utils.processes import process_pool

#: Images in a quick sample, and the fewest that are judged where time runs out: with 5 % bad ones, more than 10 % of
#: 100 are bad in 1 of 90 samples.
SAMPLE, FEWEST = 200, 100


def find_damage(source: Source, entry: Entry, **decoding: Any) -> str | None:
    """Decode one image, as a training does; return ``NAME: CAUSE`` for a damaged one, None for a sound one."""
    try:
        source.pixels(entry, **decoding)
    except ImageReadError as error:
        return f'{error.path}: {error.cause}'
    return None


def examine(source: Source, entries: Sequence[Entry], workers: int, **decoding: Any) -> list[str]:
    """Decode images in parallel, with a progress bar.

    Args:
        source: Where the images are.
        entries: The images, as the source lists them.
        workers: Number of processes; 1 reads in the calling process.
        decoding: ``max_pixels`` and ``value_range``, see :func:`repre_mm.datasets.read_image`.

    Returns:
        The damaged images, each as ``NAME: CAUSE``, in the order of the entries.
    """
    work = partial(find_damage, source, **decoding)
    with nullcontext() if workers == 1 else process_pool(workers, __name__) as pool:
        chunk = max(1, min(64, len(entries) // (4 * workers)))
        found = map(work, entries) if pool is None else pool.map(work, entries, chunksize=chunk)
        return [damage for damage in tqdm(found, desc='reading', total=len(entries), unit=' images') if damage]


def check_sample(source: Source, max_bad_share: float, *, seconds: float = 5.0, **decoding: Any) -> None:
    """Decode :data:`SAMPLE` images, drawn evenly; refuse the place if too many of them are damaged.

    Half of the time is for listing, unless an index of the place is kept: of a place that takes longer the first part
    is drawn from. The draw is the same each time.

    Args:
        source: Where the images are.
        max_bad_share: Largest share of damaged images, in [0, 1].
        seconds: Stop after about this long. With fewer than :data:`FEWEST` images read by then, nothing is judged: the
            dataset judges later, while it reads.
        decoding: ``max_pixels`` and ``value_range``, see :func:`repre_mm.datasets.read_image`.

    Raises:
        DatasetError: Too many images are damaged, or the place cannot be listed; the message names them.
    """
    entries = kept_index(source)
    end = time.monotonic() + seconds
    entries = entries or source.images(seconds=seconds / 2)
    drawn = random.Random(0).sample(entries, min(SAMPLE, len(entries)))
    found = []
    for entry in drawn:
        if time.monotonic() > end:
            break
        found.append(find_damage(source, entry, **decoding))
    damaged, read = list(filter(None, found)), len(found)
    if len(damaged) > max_bad_share * read and read >= min(FEWEST, len(drawn)):
        names = '\n'.join(f'  {damage}' for damage in damaged[:5])
        raise DatasetError(
            f'{len(damaged):,} of {read:,} images {"drawn " * (read < len(entries))}under {source.place} cannot be '
            f'read, more than {max_bad_share * 100:.3g} %. See all with `python tools/check_data.py {source.place}`; '
            f'repair or remove them (repre_mm.ImageFolder: or raise max_bad_share):\n{names}'
        )
