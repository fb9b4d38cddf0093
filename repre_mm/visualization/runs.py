"""Reading of work dirs: curves, scores, pictures, tables, config and last checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repre_mm.utils.errors import UserError

# Keys of a log line that are no measurements.
_PLACES = ('step', 'iter', 'epoch')


@dataclass
class Series:
    """One quantity during a training.

    Attributes:
        unit: What ``steps`` counts: ``'iteration'`` or ``'epoch'``.
        steps: Ascending.
        values: One for each step; may hold NaN.
    """

    unit: str
    steps: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


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
    for path in paths:
        if not path.is_dir():
            raise UserError(f'no such work dir: {path}')
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
        lines = _read_lines(path)
        by_epoch = any('epoch' in line for line in lines)
        fresh: dict[str, Series] = {}
        for line in lines:
            training = 'iter' in line
            unit = 'iteration' if training or not by_epoch else 'epoch'
            for key, value in line.items():
                if key not in _PLACES and isinstance(value, (int, float)):
                    series = fresh.setdefault(key, Series(unit))
                    series.steps.append(line['iter'] if training else line['step'])
                    series.values.append(value)
        for key, series in fresh.items():
            kept = curves.get(key, Series(series.unit))
            before = sum(step < series.steps[0] for step in kept.steps)
            curves[key] = Series(series.unit, kept.steps[:before] + series.steps, kept.values[:before] + series.values)
    return curves


def _read_lines(path: Path) -> list[dict[str, Any]]:
    texts = path.read_text().splitlines()
    lines = []
    for number, text in enumerate(texts, start=1):
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError as error:
            if number == len(texts):  # being written
                break
            raise UserError(f'{path}, line {number} is not JSON: {error}') from error
    return lines


def _read_run(name: str, path: Path) -> Run:
    pictures = [file for folder in (path, path / 'pictures') for file in sorted(folder.glob('*.png'))]
    pictures += sorted((path / 'reconstructions').glob('*.png'), key=lambda file: (len(file.stem), file.stem))
    checkpoints = sorted(path.glob('*.pth'), key=lambda file: file.stat().st_mtime)
    return Run(
        name=name,
        path=path,
        curves=read_curves(path),
        scores={file.stem: _numbers(_read_json(file)) for file in sorted(path.glob('*.json'))},
        pictures=pictures,
        tables=sorted(path.glob('*.md')),
        config=next(iter(sorted(path.glob('*.py'))), None),
        checkpoint=checkpoints[-1] if checkpoints else None,
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f'{path} is not JSON: {error}') from error


def _numbers(node: Any, prefix: str = '') -> dict[str, float]:
    """Flatten nested dicts to {dotted key: number}; lists hold raw data, not scores."""
    if isinstance(node, dict):
        return {k: v for key, value in node.items() for k, v in _numbers(value, f'{prefix}{key}.').items()}
    if isinstance(node, (int, float)) and not isinstance(node, bool):
        return {prefix.removesuffix('.'): node}
    return {}
