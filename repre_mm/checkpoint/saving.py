"""Write training checkpoints atomically, verify them, and find the newest valid one."""

from __future__ import annotations

import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from repre_mm.checkpoint.reading import CheckpointError, read_checkpoint
from repre_mm.utils.atomic import write_atomically

#: mmengine's name for the file that holds the path of the newest checkpoint.
POINTER = 'last_checkpoint'
#: Writes one checkpoint after the other. Python waits for its thread when the process ends, unless it is killed.
WRITER = ThreadPoolExecutor(1, 'repre_mm saving')


def write_checkpoint(data: bytes, path: Path) -> None:
    """Write a checkpoint, and check that it can be read.

    The bytes go to a draft in the same folder, which is read back, flushed to the disk, and moved over ``path``: a run
    that dies at any moment leaves the old file or the new one.

    Args:
        data: What ``torch.save`` made.
        path: The file; its folder is made if need be.

    Raises:
        OSError: The folder cannot be written, or the disk is full. What was at ``path`` is still there.
        CheckpointError: The draft reads back wrong, or ``--resume`` would refuse it; likewise.
    """

    def write(draft: Path) -> None:
        draft.write_bytes(data)
        verify_checkpoint(draft)
        read_checkpoint(draft, map_location='meta')

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, write)


def wait_until_saved() -> None:
    """Wait until :data:`WRITER` has finished what it was given, successfully or not."""
    WRITER.submit(int).result()


def remove_drafts(folder: Path) -> None:
    """Remove what a run that was killed while saving left behind; no other run may be saving there."""
    for draft in folder.glob('.*.pth.*.tmp'):
        draft.unlink(missing_ok=True)


def verify_checkpoint(path: Path) -> None:
    """Compare the bytes of a checkpoint with the CRCs that torch writes into it.

    Raises:
        CheckpointError: They differ.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            valid = archive.testzip() is None
    except Exception:  # of many classes, by what is damaged
        valid = False
    if not valid:
        raise CheckpointError(f'{path} is damaged: its bytes are not those that were written (checksum)')


class ResumePoint(NamedTuple):
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
            found += [point] if (point := resume_point(path)) else []
        except CheckpointError as error:
            passed_over.append(str(error))
    for point in sorted(found, key=lambda point: point.iteration, reverse=True):
        try:
            verify_checkpoint(point.path)
        except CheckpointError as error:
            passed_over.append(str(error))
        else:
            return point._replace(passed_over=tuple(passed_over))
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
