"""Results of the part-aware study as a table, one row per encoder."""

from __future__ import annotations

from typing import Any

from repre_mm.studies.results import markdown_table

_Path = tuple[str, ...]
#: Column -> place of its score in a result, by the study's protocol.
STUDY_COLUMNS: dict[str, _Path] = {
    'part linear': ('part', 'linear', 'top1'),
    'part attentive': ('part', 'attentive', 'top1'),
    'part AP, encoded': ('part', 'retrieval', 'encoded', 'ap'),
    'part AP, class token': ('part', 'retrieval', 'class token', 'ap'),
    'part AP, projected': ('part', 'retrieval', 'projected', 'ap'),
    'part mIoU': ('part', 'segmentation', 'miou'),
    'object linear': ('object', 'linear', 'top1'),
    'object attentive': ('object', 'attentive', 'top1'),
    'object mIoU': ('object', 'segmentation', 'miou'),
}
#: Likewise, of the quick protocol.
QUICK_COLUMNS: dict[str, _Path] = {
    f'{level} {column}': (level, *path)
    for level in ('part', 'object')
    for column, path in {'linear': ('linear', 'top1'), 'kNN': ('knn', 'top1'), 'mIoU': ('miou',)}.items()
}


def study_table(found: dict[str, dict[str, Any]], columns: dict[str, _Path]) -> str:
    """One row per encoder, scores in percent; columns without any score are left out.

    Args:
        found: Name -> result of a protocol, with the entries ``encoder`` (config or model) and ``weights`` (file or
            ``'random'``).
        columns: :data:`STUDY_COLUMNS` or :data:`QUICK_COLUMNS`.
    """
    shown = {
        name: path for name, path in columns.items() if any(_at(result, path) is not None for result in found.values())
    }
    rows = []
    for name, result in found.items():
        scores = [_at(result, path) for path in shown.values()]
        numbers = ['-' if score is None else f'{score:.2f}' for score in scores]
        rows.append([f'{name} ({result["encoder"]})', result['weights'], str(result['image_size']), *numbers])
    return '\n'.join(markdown_table(['encoder', 'weights', 'pixels', *shown], rows)) + '\n'


def _at(result: dict[str, Any], path: _Path) -> float | None:
    value: Any = result
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
