"""Write the results of studies: whole files or none, tables in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from repre_mm.utils.atomic import write_atomically


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write a result so that an interrupted run leaves the old file or the new one, never half of one."""
    write_text(json.dumps(result, indent=2) + '\n', path)


def write_text(text: str, path: Path) -> None:
    """Write a text file, whole or not at all."""
    write_atomically(path, lambda draft: draft.write_text(text))


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [_line(columns), '|---' * len(columns) + '|', *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'
