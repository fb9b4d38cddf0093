"""Read every mask of a data set before a training: count the pixels of each label, name the masks that are wrong."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
from mmengine.logging import print_log
from PIL import ExifTags, Image
from tqdm import tqdm

from repre_mm.datasets.listing import DatasetError
from repre_mm.utils.atomic import write_text
from repre_mm.utils.processes import process_pool

LABELS = 256
_FEW = 64  # masks that are read sooner than other processes start, and need no cache


def count_pixels(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    """Count the pixels of each label in each mask, in parallel.

    The counts of more than a few are kept under ``~/.cache/repre_mm`` (``XDG_CACHE_HOME``) until a file changes;
    processes that start together wait for the first.

    Args:
        pairs: Image and mask.

    Returns:
        (masks, 256) int64.

    Raises:
        DatasetError: Masks are unreadable, hold anything but labels of 0 to 255, or differ from their image in size;
            the message names them.
    """
    counts = np.zeros((len(pairs), LABELS), np.int64)
    faults = []
    with _cache(pairs) if len(pairs) > _FEW else nullcontext({}) as known:
        stamps = {pair: _stamp(pair) for pair in pairs}
        new = [pair for pair in pairs if known.get(pair[1], (None,))[0] != stamps[pair]]
        workers = len(os.sched_getaffinity(0)) if len(new) > _FEW else 1
        with nullcontext() if workers == 1 else process_pool(workers, __name__) as pool:
            results = map(_examine, new) if pool is None else pool.map(_examine, new, chunksize=16)
            for pair, result in zip(new, tqdm(results, 'reading masks', len(new), delay=2, disable=None), strict=True):
                if isinstance(result, str):
                    faults.append(result)
                else:
                    known[pair[1]] = (stamps[pair], result)
    if faults:
        raise DatasetError('\n  '.join([f'{len(faults):,} of {len(pairs):,} masks are wrong:', *faults[:5]]))
    for row, (_, mask) in zip(counts, pairs, strict=True):
        for label, pixels in known[mask][1].items():
            row[int(label)] = pixels
    return counts


def _examine(pair: tuple[str, str]) -> dict[str, int] | str:
    """Count the pixels of each label, or say what is wrong with a mask."""
    image, mask = pair
    try:
        with Image.open(mask) as file:
            labels = np.asarray(file)
    except Exception as error:  # Pillow's decoders raise errors of any class on damaged bytes
        return f'the mask {mask} cannot be read ({error}): copy or make it again'
    if labels.ndim != 2:
        return f'{mask} must hold one label per pixel, but has {labels.shape[2]} channels: colours?'
    if labels.dtype.kind == 'f' or labels.min() < 0 or labels.max() >= LABELS:
        return f'{mask} holds values of {labels.min()} to {labels.max()}: write labels of 0 to 255'
    height, width = labels.shape
    size = upright_size(image)
    if size not in (None, (width, height)):
        return f'{mask} has {width} x {height} pixels, its image {image} {size[0]} x {size[1]}: make them equal'
    found = np.bincount(labels.astype(np.uint8).ravel(), minlength=LABELS)
    return {str(label): int(found[label]) for label in found.nonzero()[0]}


def upright_size(path: str) -> tuple[int, int] | None:
    """Width and height of an image; None for a damaged one, which a training passes over."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return image.size[::-1] if turned else image.size
    except Exception:  # Pillow's decoders raise errors of any class on damaged bytes
        return None


def _stamp(pair: tuple[str, str]) -> list[int]:
    states = [os.stat(path) for path in pair if os.path.exists(path)]
    return [value for state in states for value in (state.st_size, state.st_mtime_ns)]


@contextmanager
def _cache(pairs: Sequence[tuple[str, str]]) -> Iterator[dict[str, tuple[list[int], dict[str, int]]]]:
    """Mask -> its files' stamp and its counts, read from the cache and written back."""
    place = os.path.abspath(os.path.commonpath([mask for _, mask in pairs]))
    folder = Path(os.environ.get('XDG_CACHE_HOME') or Path('~/.cache').expanduser()) / 'repre_mm/masks'
    path = folder / f'{hashlib.sha256(place.encode()).hexdigest()[:16]}.json'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix('.lock').open('w')
    except OSError as error:
        print_log(f'cannot write {folder} ({error.strerror}): the next start reads all masks again', 'current', 30)
        yield {}
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = path.read_text() if path.is_file() else '{}'
        known = json.loads(before)
        yield known
        after = json.dumps(known)
        if after != before:
            write_text(after, path)
