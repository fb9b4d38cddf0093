"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [_line(columns), '|---' * len(columns) + '|', *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'
