"""The study as a table, one row per encoder."""

from __future__ import annotations

from typing import Any

from repre_mm.studies.parts.annotations import PartAnnotations
from repre_mm.studies.parts.recognition import LEVELS

_COLUMNS = ('linear', 'kNN', 'mIoU')


def markdown_table(results: dict[str, dict[str, Any]]) -> str:
    """One row per encoder, scores in percent, from results of :func:`repre_mm.studies.parts.study_encoder`.

    Args:
        results: Name -> result, with the entries ``encoder`` (config or model) and ``weights`` (file or ``'random'``).
    """
    columns = [f'{level} {column}' for level in LEVELS for column in _COLUMNS]
    lines = [f'| encoder | weights | pixels | cells | {" | ".join(columns)} |', '|---' * (4 + len(columns)) + '|']
    for name, result in results.items():
        scores = [_format(value) for level in LEVELS for value in _scores(result[level])]
        h, w = result['grid']
        cells = [f'{name} ({result["encoder"]})', result['weights'], str(result['image_size']), f'{h} x {w}', *scores]
        lines.append(f'| {" | ".join(cells)} |')
    short = [f'{name} ({level})' for name, r in results.items() for level in LEVELS if not r[level]['head_converged']]
    if short:
        lines += ['', f'Segmentation heads that stopped short of their minimum: {", ".join(short)}.']
    return '\n'.join(lines) + '\n'


def object_note(annotations: PartAnnotations) -> str:
    """What the object level is, for the reader of the table."""
    if annotations.objects_from is None:
        return (
            f'Objects: the annotations know one class ({annotations.objects[0]}), so there is no object recognition; '
            'object mIoU is that of object and background.'
        )
    source = {'supercategory': "the categories' supercategories", 'folder': 'the folders of the images'}
    return f'Objects: {len(annotations.objects)} classes, from {source[annotations.objects_from]}.'


def _scores(level: dict[str, Any]) -> tuple[float | None, float | None, float]:
    linear, knn = level['linear'], level['knn']
    return linear and linear['top1'], knn and knn['top1'], level['miou']


def _format(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'
