"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [f'| {" | ".join(cells)} |' for cells in (columns, *rows)]
    return [lines[0], '|---' * len(columns) + '|', *lines[1:]]
