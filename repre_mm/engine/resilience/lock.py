"""Lock a work dir, so that one training at a time writes to it."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

from repre_mm.utils.errors import UserError

LOCK_FILE = '.train.lock'
# Open lock files of this process: closing one would release its lock.
_HELD: dict[Path, int] = {}


class WorkDirInUseError(UserError):
    """Another training writes to the work dir; the message names it and the fix."""


def lock_work_dir(work_dir: str | os.PathLike) -> None:
    """Claim a work dir, made if need be, for this process until it ends; on the main rank only.

    The operating system releases the lock when the process ends, however it ends; the file that stays does not block. A
    POSIX record lock also holds between machines on NFS, and data-loading workers do not inherit it.

    Raises:
        WorkDirInUseError: Another process, here or on another machine, holds it.
    """
    if int(os.environ.get('RANK') or os.environ.get('SLURM_PROCID') or 0) != 0:
        return
    path = Path(work_dir).resolve() / LOCK_FILE
    if path in _HELD:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(handle, 1000).decode(errors='replace').strip() or 'unknown'
        os.close(handle)
        raise WorkDirInUseError(
            f'another training writes to {work_dir} ({holder}): wait until it ends, stop it, or choose another folder '
            'with --work-dir'
        ) from error
    _HELD[path] = handle
    os.truncate(handle, 0)
    os.write(handle, f'pid {os.getpid()} on {socket.gethostname()} since {time.strftime("%F %T")}\n'.encode())
