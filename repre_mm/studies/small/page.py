"""Write the page of the small benchmark: scores, paired differences with intervals, cost, figures, JSON."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from repre_mm.studies.ablation import Cell
from repre_mm.studies.results import markdown_table
from repre_mm.studies.small.cells import METHODS, PLAIN, RANDOM, REPRE, Bench
from repre_mm.studies.small.figures import block_figure, curve_figure, gradient_figure
from repre_mm.studies.small.scores import SCORES
from repre_mm.utils.atomic import write_json, write_text
from repre_mm.utils.errors import UserError

Results = dict[Cell, dict[str, Any]]
#: Quantiles of Student's t at 97.5 % for 1, 2, ... degrees of freedom.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


class Difference(NamedTuple):
    """Paired differences: their mean, half the 95 % interval of it (None for one pair), and their number."""

    mean: float
    half: float | None
    pairs: int

    def __str__(self) -> str:
        if self.half is None:
            return f'{self.mean:+.1f} (1 pair)'
        return f'{self.mean:+.1f} ± {self.half:.1f}'


def paired(differences: Sequence[float]) -> Difference:
    """Mean of at least one difference, with the 95 % interval by Student's t."""
    count = len(differences)
    if count == 1:
        return Difference(differences[0], None, 1)
    quantile = _T[count - 2] if count - 2 < len(_T) else 1.96 + 2.4 / (count - 1)
    return Difference(statistics.mean(differences), quantile * statistics.stdev(differences) / math.sqrt(count), count)


def write_page(bench: Bench, cells: Sequence[Cell], path: Path, title: str) -> None:
    """Write ``path``, headed by ``title``, and beside it its JSON and figures (``NAME.json``, ``NAME-losses.png``, ..).

    Raises:
        UserError: No cell is finished.
    """
    results = {cell: result for cell in cells if (result := bench.result(cell))}
    if all(cell.variant == RANDOM for cell in results):
        raise UserError(f'{bench.work_dir} has no finished cell with these settings: run the benchmark without --page')
    path.parent.mkdir(parents=True, exist_ok=True)
    figures = {
        'blocks': (block_figure(results), 'kNN (%) on the mean token of each block; lines are means over the seeds'),
        'losses': (curve_figure(results), 'losses and weights over the training, seed by seed'),
        'gradients': (gradient_figure(results), 'share of the gradient norm that the pixels have, and its cosine'),
    }
    pictures = []
    for name, (figure, text) in figures.items():
        if figure is not None:
            file = path.with_name(f'{path.stem}-{name}.png')
            figure.savefig(file, dpi=110)
            pictures += [f'![{text}]({file.name})', '']
    lines = [f'# {title}', '', *_head(bench, results, len(cells)), *findings(results), *_tables(results)]
    write_text('\n'.join([*lines, *_gradients(results), *pictures]).rstrip() + '\n', path)
    write_json({'cells': [_for_json(cell, result) for cell, result in results.items()]}, path.with_suffix('.json'))


def _for_json(cell: Cell, result: dict[str, Any]) -> dict[str, Any]:
    settings = {key: value for key, value in result['settings'].items() if key not in ('data', 'seg', 'parts')}
    names = {key: Path(value).name for key in ('data', 'seg', 'parts') if (value := result['settings'][key])}
    return {'cell': str(cell.folder), **result, 'settings': settings | names}


def _head(bench: Bench, results: Results, count: int) -> list[str]:
    settings, any_result = bench.settings, next(iter(results.values()))
    seeds = sorted({cell.seed for cell in results if cell.variant != RANDOM})
    hours = sum(r['cost'].get('train_wall_s', 0) + r['cost']['score_wall_s'] for r in results.values()) / 3600
    steps = {result['cost']['steps'] for result in results.values()} - {0}
    versions = ', '.join(f'{name} {version}' for name, version in any_result['versions'].items())
    methods = list(dict.fromkeys(cell.base.method for cell in results if cell.variant != RANDOM))
    arms = list(dict.fromkeys(cell.variant for cell in results if cell.variant != RANDOM))
    chosen = '' if methods == list(METHODS) else f' --methods {" ".join(map(shlex.quote, methods))}'
    chosen += '' if arms == [PLAIN, REPRE] else f' --arms {" ".join(arms)}'
    return [
        '`python tools/benchmarks/small.py --data DIR --seg DIR --parts DIR --epochs '
        f'{settings.epochs} --seeds {" ".join(map(str, seeds))}{chosen}`',
        '',
        f'{settings.train_images:,} photographs, {" or ".join(map(str, sorted(steps)))} steps '
        f'({settings.epochs} epochs, batch 64) of a ViT with 6 blocks of width 96 on 96 pixels, patches of 16 (768 '
        'values). Both arms of a pair have the same images, augmentations, steps and evaluation. '
        f'{len(results)} of {count} cells, {hours:.1f} hours of one thread in all ({any_result["machine"]}, other work '
        'beside it).',
        '',
        'Scores are those of the frozen encoder, in percent. Segmentation: a linear head on patch tokens of images cut '
        'into 2 x 3 tiles. Parts: patch tokens averaged within each annotated part, images cut into 2 x 2 tiles. '
        f'kNN: k = {settings.k}. Nothing was chosen by these scores.',
        '',
        f'Versions: {versions}.',
        '',
    ]


def findings(results: Results) -> list[str]:
    """Say which differences are beyond their interval; nothing without intervals."""
    found, count = [], 0
    for method, arm in dict.fromkeys((cell.base.method, cell.variant) for cell in results):
        for score, label in SCORES.items():
            differences = pair_differences(results, method, arm, score) if arm not in (PLAIN, RANDOM) else []
            if len(differences) < 2:
                continue
            count += 1
            difference = paired(differences)
            if abs(difference.mean) > difference.half:
                found.append(f'{label} of {method}, {_arm(arm)} ({difference})')
    if not count:
        return []
    beyond = f'{len(found)} beyond the interval: {"; ".join(found)}' if found else 'none is beyond its interval'
    return [
        f'**Result.** Of {count} differences between RePre and plain, {beyond}. '
        f'By chance alone 95 % intervals would miss zero {0.05 * count:.1f} times.',
        '',
    ]


def _gradients(results: Results) -> list[str]:
    """Table: share of the gradient and cosine at each block, over the last half of the measurements, mean of seeds."""
    rows = []
    blocks: list[int] = []
    for method, arm in dict.fromkeys((cell.base.method, cell.variant) for cell in results):
        curves = [r['curves'] for c, r in results.items() if (c.base.method, c.variant) == (method, arm)]
        names = [name for name in curves[0] if name.startswith('grad_share_recon_block_')]
        if not names:
            continue
        blocks = sorted(int(name.rpartition('_')[2]) for name in names)

        def late(curves: list[dict], name: str) -> float:
            return statistics.mean(v for each in curves for v in each[name][1][len(each[name][1]) // 2 :])

        shares = [f'{100 * late(curves, f"grad_share_recon_block_{block}"):.2g}' for block in blocks]
        cosines = [f'{late(curves, f"grad_cosine_block_{block}"):+.2f}' for block in (blocks[0], blocks[-1])]
        weights = [f'{late(curves, f"weight_{loss}"):.3g}' for loss in ('contrast', 'recon')]
        rows.append([method, _arm(arm), ' : '.join(weights), *shares, *cosines])
    if not rows:
        return []
    columns = ['method', 'arm', 'weights', *(f'block {block}' for block in blocks)]
    return [
        '## Gradient',
        '',
        "The pixels' share of the gradient norm at each block, in percent, and the cosine between the two gradients; "
        'means over the last half of the training. Weights: contrastive : pixels.',
        '',
        *markdown_table([*columns, f'cosine, block {blocks[0]}', f'block {blocks[-1]}'], rows),
        '',
    ]


def _tables(results: Results) -> list[str]:
    lines = []
    arms = list(dict.fromkeys(cell.variant for cell in results if cell.variant not in (PLAIN, RANDOM)))
    shown = [name for name in SCORES if any(result['scores'][name] is not None for result in results.values())]
    random = {name: _spread(results, lambda c: c.variant == RANDOM, name) for name in shown}
    for method in dict.fromkeys(cell.base.method for cell in results if cell.variant != RANDOM):
        columns = ['score', 'random', 'plain']
        columns += [text for arm in arms for text in (_arm(arm), f'{_arm(arm)} - plain')]
        rows = []
        for name in shown:
            row = [SCORES[name], random[name], _spread(results, _is(method, PLAIN), name)]
            for arm in arms:
                differences = pair_differences(results, method, arm, name)
                row += [_spread(results, _is(method, arm), name), str(paired(differences)) if differences else '-']
            rows.append(row)
        lines += [
            f'## {method}',
            '',
            'Mean ± standard deviation over the seeds; differences: mean ± half of the 95 % '
            'interval (Student, paired by seed).',
            '',
            *markdown_table(columns, rows),
            '',
        ]
    rows = []
    for method, arm in dict.fromkeys((cell.base.method, cell.variant) for cell in results if cell.variant != RANDOM):
        costs = [r['cost'] for c, r in results.items() if (c.base.method, c.variant) == (method, arm)]
        mean = {key: statistics.mean(cost[key] for cost in costs) for key in ('steps', 'train_cpu_s', 'score_wall_s')}
        per_step = mean['train_cpu_s'] / mean['steps']
        rows.append(
            [
                method,
                _arm(arm),
                f'{per_step:.2f}',
                f'{mean["train_cpu_s"] / 60:.1f}',
                f'{mean["score_wall_s"] / 60:.1f}',
            ]
        )
    columns = ['method', 'arm', 's per step', 'training, min', 'scores, min']
    lines += [
        '## Cost',
        '',
        'Training in processor time of one thread, with data loading; RePre with the measurement of gradients.',
        '',
        *markdown_table(columns, rows),
        '',
    ]
    return lines


def pair_differences(results: Results, method: str, arm: str, score: str) -> list[float]:
    """Score of an arm minus that of the plain method, for each seed that has both."""
    differences = []
    for cell, result in results.items():
        plain = results.get(cell._replace(variant=PLAIN))
        if (cell.base.method, cell.variant) == (method, arm) and plain and result['scores'][score] is not None:
            differences.append(result['scores'][score] - plain['scores'][score])
    return differences


def _is(method: str, arm: str):
    return lambda cell: (cell.base.method, cell.variant) == (method, arm)


def _spread(results: Results, wanted, score: str) -> str:
    values = [r['scores'][score] for cell, r in results.items() if wanted(cell) and r['scores'][score] is not None]
    if not values:
        return '-'
    return f'{statistics.mean(values):.1f}' + (f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else '')


def _arm(arm: str) -> str:
    return {PLAIN: 'plain', 'default': 'RePre'}.get(arm, f'RePre, {arm.replace("_", " ")}')
