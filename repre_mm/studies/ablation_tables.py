"""Tables of an ablation in Markdown: Tables 4 and 5 in the paper's layout with its numbers, others by column."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from repre_mm.studies.ablation import STUDIES, Base, Cell, Settings
from repre_mm.studies.gains import Gain
from repre_mm.studies.paper import TABLE_4, TABLE_5
from repre_mm.studies.results import markdown_table
from repre_mm.utils.stack import stack_versions

Scores = dict[Cell, dict[str, Any]]
#: Score -> its name in the tables, and its digits.
SCORES = {'linear_top1': ('linear, top-1 (%)', 1), 'knn_top1': ('kNN, top-1 (%)', 1), 'recon_l1': ('L1', 4)}
_TICK = '✓'


def report(settings: Settings, studies: Sequence[str], cells: Scores) -> str:
    """Tables of all studies; the place of a missing cell stays empty."""
    seeds = sorted({cell.seed for cell in cells})
    spread = 'One seed.'
    if len(seeds) > 1:
        spread = 'Mean ± standard deviation over the seeds: smaller differences are not significant.'
    toy = settings.config is not None or settings.size == 'toy'
    what = settings.config or ('toy encoders for ViT-S and Swin-T' if toy else "the paper's configs")
    epochs = "the configs' epochs"
    if settings.epochs:
        epochs = f'{settings.epochs} epoch{"s" if settings.epochs > 1 else ""}'
    linear = 'linear probe on cached features'
    if not toy:
        linear = "linear evaluation by the method's own protocol, best epoch"
    lines = [
        f'# Ablation: {what}, {epochs}, seeds {", ".join(map(str, seeds))}',
        '',
        f'{settings.train_images:,} training images. Scores of the frozen encoder: {linear}; kNN, k = {settings.k}; '
        f'L1 of view 1 in [0, 1], mean over the last logged batches of the training. {spread}',
        '',
    ]
    for study in studies:
        lines += [f'## {STUDIES[study].title}', '', *study_table(study, settings, cells), '']
    versions = ', '.join(f'{name} {version}' for name, version in stack_versions().items())
    return '\n'.join([*lines, f'Versions: {versions}.', ''])


def study_table(study: str, settings: Settings, cells: Scores) -> list[str]:
    """Lines of one study's table."""
    return {'features': _table_4, 'fusion': _table_5}.get(study, _by_column)(study, settings, cells)


def gains(settings: Settings, cells: Scores) -> list[Gain]:
    """Scores without and with RePre (all levels, default decoder) of the bases that have both."""
    found = []
    for base in settings.bases('features'):
        plain, repre = (_values(cells, base, variant, 'linear_top1') for variant in ('none', 'default'))
        if plain and repre:
            paper = TABLE_4.get(base)
            theirs = (paper['none'], paper['multi']) if paper else None
            label = f'{base.method}\n{_arch(base, settings)}'.strip()
            found.append(Gain(label, statistics.mean(plain), statistics.mean(repre), theirs))
    return found


def _table_4(study: str, settings: Settings, cells: Scores) -> list[str]:
    rows = []
    for base in settings.bases(study):
        for features, variant in STUDIES[study].columns.items():
            ticks = [_TICK if features == column else '' for column in ('single', 'multi')]
            paper = TABLE_4[base][features] if base in TABLE_4 else None
            rows.append([base.method, _arch(base, settings), *ticks, *_scored(cells, base, variant), _number(paper)])
    return markdown_table(['Method', 'Arch.', 'Single', 'Multi', *_names(), "paper's Top-1 Acc (%)"], rows)


def _table_5(study: str, settings: Settings, cells: Scores) -> list[str]:
    rows = []
    for base in settings.bases(study):
        for label, variant in STUDIES[study].columns.items():
            operator, _, number = label.partition(' ')
            key = (operator, int(number)) if number else ('w/o decoder', None)
            paper = TABLE_5.get(base.arch, {}).get(key)
            scores = _scored(cells, base, variant)
            rows.append([key[0], number or '-', _arch(base, settings) or base.method, *scores, _number(paper)])
    return markdown_table(['Operator', 'Layer Num.', 'Arch.', *_names(), "paper's Top-1 Acc (%)"], rows)


def _arch(base: Base, settings: Settings) -> str:
    return f'{base.arch}, toy' if settings.size == 'toy' and base.arch else base.arch


def _by_column(study: str, settings: Settings, cells: Scores) -> list[str]:
    columns = STUDIES[study].columns
    (base,) = settings.bases(study)
    rows = [
        [label, *(_cell(cells, base, variant, score) for variant in columns.values())]
        for score, (label, _) in SCORES.items()
    ]
    return markdown_table(['', *columns], rows)


def _names() -> list[str]:
    return [label for label, _ in SCORES.values()]


def _scored(cells: Scores, base: Base, variant: str) -> list[str]:
    return [_cell(cells, base, variant, score) for score in SCORES]


def _values(cells: Scores, base: Base, variant: str, score: str) -> list[float]:
    found = [scores[score] for cell, scores in cells.items() if cell[:2] == (base, variant)]
    return [] if None in found else found


def _cell(cells: Scores, base: Base, variant: str, score: str) -> str:
    values, digits = _values(cells, base, variant, score), SCORES[score][1]
    if not values:
        return '-'
    spread = f' ± {statistics.stdev(values):.{digits}f}' if len(values) > 1 else ''
    return f'{statistics.mean(values):.{digits}f}{spread}'


def _number(value: float | None) -> str:
    return '-' if value is None else f'{value:.1f}'
