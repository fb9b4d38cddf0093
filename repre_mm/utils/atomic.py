"""Write files whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` make a draft beside ``path``, then move it into place: readers see the old file or the new one.

    Raises:
        OSError: The folder cannot be written, or the disk is full. Other errors of ``write`` pass through.
    """
    draft = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        write(draft)
        with draft.open('rb+') as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
