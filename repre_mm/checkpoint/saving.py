"""Write training checkpoints atomically with a checksum, verify them, and find the newest valid one."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repre_mm.checkpoint.reading import CheckpointError, read_checkpoint
from repre_mm.utils.atomic import write_atomically

#: mmengine's name for the file that holds the path of the newest checkpoint.
POINTER = 'last_checkpoint'


def write_checkpoint(data: bytes, path: Path) -> None:
    """Write a checkpoint, check that it can be read, and put its SHA-256 beside it.

    The bytes go to a draft in the same folder, which is flushed to the disk, read back, and moved over ``path``: a run
    that dies at any moment leaves the old file or the new one. ``path.sha256`` is what ``sha256sum --check`` reads.

    Args:
        data: What ``torch.save`` made.
        path: The file; its folder is made if need be.

    Raises:
        CheckpointError: The folder cannot be written, the disk is full, or the draft reads back wrong. What was at
            ``path`` is still there.
    """
    digest = hashlib.sha256(data).hexdigest()
    checksum = checksum_path(path)

    def write(draft: Path) -> None:
        with draft.open('wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if _sha256(draft) != digest:
            raise CheckpointError(
                f'{path} reads back other than it was written: the disk or its file system is damaged'
            )
        read_checkpoint(draft, map_location='meta')  # what --resume would refuse is refused now
        # Until the new checksum is there the file has none: better than one that belongs to the old file.
        checksum.unlink(missing_ok=True)

    with _write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write)
        write_atomically(checksum, lambda draft: draft.write_text(f'{digest}  {path.name}\n'))
        _sync_folder(path.parent)


def write_pointer(folder: Path, checkpoint: Path) -> None:
    """Name the newest checkpoint in ``last_checkpoint``, once it is written.

    Raises:
        CheckpointError: It cannot be written.
    """
    with _write_errors(folder / POINTER):
        write_atomically(folder / POINTER, lambda draft: draft.write_text(str(checkpoint)))
        _sync_folder(folder)


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint and its checksum, if they exist."""
    path.unlink(missing_ok=True)
    checksum_path(path).unlink(missing_ok=True)


def remove_drafts(folder: Path) -> None:
    """Remove what a run that was killed while saving left behind; no other run may be saving there."""
    for draft in folder.glob('.*.pth.*.tmp'):
        draft.unlink(missing_ok=True)


def checksum_path(path: Path) -> Path:
    """Where the SHA-256 of a checkpoint is."""
    return path.with_name(f'{path.name}.sha256')


def verify_checkpoint(path: Path) -> None:
    """Compare a checkpoint's bytes with its checksum or, without one, with the CRCs inside the file.

    Raises:
        CheckpointError: They differ.
    """
    checksum = checksum_path(path)
    if checksum.is_file():
        valid = checksum.read_text(errors='replace').split()[:1] == [_sha256(path)]
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            valid = archive.testzip() is None
    else:
        return  # torch's old format has no checksum
    if not valid:
        raise CheckpointError(f'{path} is damaged: its bytes are not those that were written (checksum)')


@dataclass(frozen=True)
class ResumePoint:
    """Where a training can go on.

    Attributes:
        path: The checkpoint.
        iteration: Iterations done.
        seed: The run's seed; None if the checkpoint does not say.
        passed_over: One line for each newer or unreadable checkpoint that was not taken: which and why.
    """

    path: Path
    iteration: int
    seed: int | None
    passed_over: tuple[str, ...] = ()


def newest_checkpoint(folder: Path) -> ResumePoint | None:
    """Find the valid checkpoint of a work dir with the most iterations done.

    Files are judged by their contents, so copies and renamed folders are fine. Those without optimizer state (a best
    or an exported model) do not count.

    Returns:
        None if there is no checkpoint at all.

    Raises:
        CheckpointError: There are checkpoints, and none is valid; the message says what is wrong with each.
    """
    folders = {folder}
    pointer = folder / POINTER
    if pointer.is_file():
        target = Path(pointer.read_text(errors='replace').replace('\0', '').strip())
        if target.suffix == '.pth' and target.parent.is_dir():  # else it was damaged, or the folder is gone
            folders.add(target.parent)  # CheckpointHook(out_dir=...)
    found: list[ResumePoint] = []
    passed_over: list[str] = []
    for path in sorted(path for place in folders for path in place.glob('*.pth')):
        try:
            point = resume_point(path)
        except CheckpointError as error:
            passed_over.append(str(error))
        else:
            found += [point] if point else []
    for point in sorted(found, key=lambda point: point.iteration, reverse=True):
        try:
            verify_checkpoint(point.path)
        except CheckpointError as error:
            passed_over.append(str(error))
        else:
            return ResumePoint(point.path, point.iteration, point.seed, tuple(passed_over))
    if passed_over:
        raise CheckpointError(
            f'nothing to resume from in {folder}: no checkpoint is sound. Copy one back, or train anew in another '
            'work dir:\n' + '\n'.join(f'  {line}' for line in passed_over)
        )
    return None


def resume_point(path: Path) -> ResumePoint | None:
    """Read where a training checkpoint stands, without its tensors; None for other files.

    Raises:
        CheckpointError: The file cannot be read.
    """
    checkpoint = read_checkpoint(path, map_location='meta')
    meta: dict[str, Any] = checkpoint.get('meta') or {}
    if 'optimizer' not in checkpoint or 'iter' not in meta:
        return None
    return ResumePoint(path, meta['iter'], meta.get('seed'))


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(f'cannot write {path}: {error}') from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Flush a folder, so that a renamed file survives a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
