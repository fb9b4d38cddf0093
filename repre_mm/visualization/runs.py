"""Reading of work dirs: curves, scores, pictures, tables, config and last checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from repre_mm.utils.errors import UserError

# Keys of a log line that are no measurements.
_PLACES = ('step', 'iter', 'epoch')


class Series(NamedTuple):
    """One quantity during a training.

    Attributes:
        unit: What ``steps`` counts: ``'iteration'`` or ``'epoch'``.
        steps: Ascending.
        values: One for each step; may hold NaN.
    """

    unit: str
    steps: list[float]
    values: list[float]


@dataclass(frozen=True)
class Run:
    """A work dir.

    Attributes:
        name: Short, and unique among the runs read together.
        curves: Quantity -> series.
        scores: {stem of a JSON file in the folder: {dotted key: number}}.
        pictures: PNG files in the folder, in ``pictures/`` and in ``reconstructions/``.
        tables: Markdown files.
        config: The config dumped by the training.
        checkpoint: The latest one.
    """

    name: str
    path: Path
    curves: dict[str, Series]
    scores: dict[str, dict[str, float]]
    pictures: list[Path]
    tables: list[Path]
    config: Path | None
    checkpoint: Path | None


def read_runs(work_dirs: Sequence[str | os.PathLike]) -> list[Run]:
    """Read work dirs; see :class:`Run`.

    Raises:
        UserError: A folder is missing, or a log or JSON file is damaged.
    """
    paths = [Path(path).expanduser() for path in work_dirs]
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    return [_read_run(name, path) for name, path in zip(names, paths, strict=True)]


def read_curves(work_dir: str | os.PathLike) -> dict[str, Series]:
    """Read all scalars that MMEngine logged under a work dir (``TIME/vis_data/scalars.json``).

    A resumed training has several such files; each one is cut where the next begins.

    Raises:
        UserError: A line is damaged; the last one may be, as it may still be written.
    """
    curves: dict[str, Series] = {}
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        lines = [_parse(text, path) for text in path.read_text().splitlines() if text.endswith('}')]
        by_epoch = any('epoch' in line for line in lines)
        for line in lines:
            unit = 'iteration' if 'iter' in line or not by_epoch else 'epoch'
            step = line.get('iter', line.get('step'))
            for key in line.keys() - _PLACES:
                if isinstance(line[key], (int, float)):
                    series = curves.setdefault(key, Series(unit, [], []))
                    while series.steps and series.steps[-1] >= step:  # the training went on from before it
                        del series.steps[-1], series.values[-1]
                    series.steps.append(step)
                    series.values.append(line[key])
    return curves


def _read_run(name: str, path: Path) -> Run:
    if not path.is_dir():
        raise UserError(f'no such work dir: {path}')
    pictures = [file for folder in (path, path / 'pictures') for file in sorted(folder.glob('*.png'))]
    pictures += sorted((path / 'reconstructions').glob('*.png'), key=lambda file: (len(file.stem), file.stem))
    return Run(
        name=name,
        path=path,
        curves=read_curves(path),
        scores={file.stem: _numbers(_parse(file.read_text(), file)) for file in sorted(path.glob('*.json'))},
        pictures=pictures,
        tables=sorted(path.glob('*.md')),
        config=min(path.glob('*.py'), default=None),
        checkpoint=max(path.glob('*.pth'), key=lambda file: file.stat().st_mtime, default=None),
    )


def _parse(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f'{path} is not JSON: {error}') from error


def _numbers(node: Any, prefix: str = '') -> dict[str, float]:
    """Flatten nested dicts to {dotted key: number}; lists hold raw data, not scores."""
    if isinstance(node, dict):
        return {k: v for key, value in node.items() for k, v in _numbers(value, f'{prefix}{key}.').items()}
    if isinstance(node, (int, float)) and not isinstance(node, bool):
        return {prefix.removesuffix('.'): node}
    return {}
