"""Names of the classes of a segmentation data set, from the command line or a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from repre_mm.datasets.listing import DatasetError


def find_classes(root: str | os.PathLike, given: Sequence[str] | None = None) -> list[str]:
    """Find the classes of a data set: those given, else ``classes.txt`` in its folder, one name per line.

    Args:
        root: The data set.
        given: Names; or one word, which is a number of classes or a file of them.

    Returns:
        Names in the order of the labels; none where nothing names them.

    Raises:
        DatasetError: There is no such file, no name, or a name comes twice.
    """
    word = given[0] if given and len(given) == 1 else ''
    if word.isdigit():
        given = numbered(int(word))
    elif given is None or word.endswith('.txt'):
        path = Path(word or Path(root) / 'classes.txt')
        if given is None and not path.is_file():
            return []
        try:
            given = [line.strip() for line in path.read_text().splitlines() if line.strip()]
        except OSError as error:
            raise DatasetError(f'{path} cannot be read ({error.strerror}): name another with --classes') from error
    if not given or len(set(given)) < len(given):
        raise DatasetError(f'--classes or classes.txt must name one class at least, and none twice: {" ".join(given)}')
    return list(given)


def numbered(count: int) -> list[str]:
    """Names of classes that have none."""
    return [f'class {i}' for i in range(count)]
