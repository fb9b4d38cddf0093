"""Names of the classes of a segmentation data set, from the command line or a file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repre_mm.datasets.formats.masks import VOID
from repre_mm.datasets.listing import DatasetError


def find_classes(
    root: str | os.PathLike, given: Sequence[str] | None = None
) -> tuple[list[str], list[list[int]]] | None:
    """Find the classes of a data set: those given, else ``classes.json`` or ``classes.txt`` in its folder.

    Args:
        root: The data set.
        given: Names; or one word, which is a number of classes or a file of them.

    Returns:
        Names in the order of the labels, and their colours (R, G, B), empty if unknown; None where nothing names them.

    Raises:
        DatasetError: A file of classes is missing or cannot be used, or a name comes twice.
    """
    word = given[0] if given and len(given) == 1 else ''
    if word.isdigit():
        if int(word) < 1:
            raise DatasetError(f'--classes {word}: there must be one class at least')
        return numbered(int(word)), []
    if word.endswith(('.json', '.txt')):
        if not Path(word).is_file():
            raise DatasetError(f'--classes {word}: there is no such file')
        return _read_classes(Path(word))
    if given:
        return _checked('--classes', list(given)), []
    for name in ('classes.json', 'classes.txt'):
        if (Path(root) / name).is_file():
            return _read_classes(Path(root) / name)
    return None


def numbered(count: int) -> list[str]:
    """Names of classes that have none."""
    return [f'class {i}' for i in range(count)]


def _read_classes(path: Path) -> tuple[list[str], list[list[int]]]:
    """Read a text file of names, one per line; or JSON: a list, or one under "classes", of names or of dicts."""
    if path.suffix != '.json':
        return _checked(path, [line.strip() for line in path.read_text().splitlines() if line.strip()]), []
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise DatasetError(f'{path} is no JSON: {error}. Fix it, or name the classes with --classes') from error
    entries: Any = content.get('classes') if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise DatasetError(f'{path} must hold a list of classes, or one under "classes"')
    if all(isinstance(entry, str) for entry in entries):
        return _checked(path, entries), []
    if not all(isinstance(entry, dict) and {'name', 'trainId'} <= entry.keys() for entry in entries):
        raise DatasetError(f'{path}: every class must be a name, or have "name" and "trainId"')
    entries = sorted((entry for entry in entries if entry['trainId'] not in (-1, VOID)), key=lambda e: e['trainId'])
    if [entry['trainId'] for entry in entries] != list(range(len(entries))):
        raise DatasetError(f'{path}: the trainIds must be 0 to {len(entries) - 1}, each once')
    colours = [list(entry['color']) for entry in entries if 'color' in entry]
    return _checked(path, [entry['name'] for entry in entries]), colours if len(colours) == len(entries) else []


def _checked(place: Path | str, names: list[str]) -> list[str]:
    if not names or len(set(names)) < len(names):
        raise DatasetError(f'{place} must name one class at least, and none of them twice: {" ".join(names)}')
    return names
