"""Read every mask of a data set before a training: count the pixels of each label, name the masks that are wrong."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from mmengine.logging import print_log
from PIL import ExifTags, Image
from tqdm import tqdm

from repre_mm.datasets.listing import DatasetError
from repre_mm.utils.atomic import write_atomically
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
    if len(pairs) <= _FEW:
        return _read(pairs)
    states = [(p, os.path.getsize(p), os.path.getmtime(p)) for pair in pairs for p in pair if os.path.exists(p)]
    folder = Path(os.environ.get('XDG_CACHE_HOME') or Path('~/.cache').expanduser()) / 'repre_mm/masks'
    path = folder / f'{hashlib.sha256(repr(states).encode()).hexdigest()[:24]}.npz'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix('.lock').open('w')
    except OSError as error:
        print_log(f'cannot write {folder} ({error.strerror}): the next start reads all masks again', 'current', 30)
        return _read(pairs)
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            counts = _read(pairs)

            def save(draft: Path) -> None:
                with draft.open('wb') as file:
                    np.savez_compressed(file, counts=counts)

            write_atomically(path, save)
        return np.load(path)['counts']


def _read(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
    workers = len(os.sched_getaffinity(0)) if len(pairs) > _FEW else 1
    with nullcontext() if workers == 1 else process_pool(workers, __name__) as pool:
        results = map(_examine, pairs) if pool is None else pool.map(_examine, pairs, chunksize=16)
        results = list(tqdm(results, 'reading masks', len(pairs), delay=2, disable=None))
    if faults := [result for result in results if isinstance(result, str)]:
        raise DatasetError('\n  '.join([f'{len(faults):,} of {len(pairs):,} masks are wrong:', *faults[:5]]))
    return np.array(results)


def _examine(pair: tuple[str, str]) -> np.ndarray | str:
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
    return np.bincount(labels.astype(np.uint8).ravel(), minlength=LABELS)


def upright_size(path: str) -> tuple[int, int] | None:
    """Width and height of an image; None for a damaged one, which a training passes over."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return image.size[::-1] if turned else image.size
    except Exception:  # Pillow's decoders raise errors of any class on damaged bytes
        return None
