"""Write the results of studies: whole files or none, tables in Markdown."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write a result so that an interrupted run leaves the old file or the new one, never half of one."""
    write_text(json.dumps(result, indent=2) + '\n', path)


def write_text(text: str, path: Path) -> None:
    """Write a text file, whole or not at all."""
    temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    temporary.write_text(text)
    temporary.replace(path)


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [_line(columns), '|---' * len(columns) + '|', *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'
