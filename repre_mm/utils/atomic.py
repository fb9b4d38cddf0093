"""Write files whole or not at all."""

from __future__ import annotations

import json
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


def write_text(text: str, path: Path) -> None:
    """Write a text file, whole or not at all."""
    write_atomically(path, lambda draft: draft.write_text(text))


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write a result as indented JSON, whole or not at all."""
    write_text(json.dumps(result, indent=2) + '\n', path)
