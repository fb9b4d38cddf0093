"""Draw the figures of the small benchmark: kNN by block, losses, gradients by block."""

from __future__ import annotations

import statistics
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repre_mm.studies.ablation import Cell
from repre_mm.studies.small.cells import PLAIN, RANDOM
from repre_mm.visualization.curves import COLOURS

Results = dict[Cell, dict[str, Any]]


def block_figure(results: Results) -> Figure:
    """kNN of each block: a panel per method, a line per arm (mean over seeds), points for the seeds."""
    methods = _methods(results)
    figure, panels = _panels(len(methods), 'block')
    for axes, method in zip(panels, methods, strict=True):
        for index, arm in enumerate([*_arms(results), RANDOM]):
            lines = [
                result['scores']['block_knn']
                for cell, result in results.items()
                if cell.variant == arm and (cell.base.method == method or arm == RANDOM)
            ]
            if not lines:
                continue
            blocks = range(1, len(lines[0]) + 1)
            colour = '#8C8C8C' if arm == RANDOM else COLOURS[index % len(COLOURS)]
            means = [statistics.mean(values) for values in zip(*lines, strict=True)]
            axes.plot(blocks, means, color=colour, label=_label(arm))
            for line in lines:
                axes.plot(blocks, line, '.', color=colour, markersize=4, alpha=0.6)
        axes.set_title(f'{method}: kNN (%) on the mean token', fontsize=9, loc='left')
        axes.legend(frameon=False, fontsize=8)
    return figure


def curve_figure(results: Results) -> Figure:
    """Contrastive loss of both arms, L1 and weight of the pixels: a row per method."""
    methods = _methods(results)
    titles = {'contrast': 'contrastive loss', 'recon_l1': 'L1 per pixel', 'weight_recon': 'weight of the pixels'}
    figure, panels = _panels(len(methods) * len(titles), 'step', columns=len(titles))
    for index, axes in enumerate(panels):
        method, quantity = methods[index // len(titles)], list(titles)[index % len(titles)]
        for cell, result in results.items():
            key = 'loss' if cell.variant == PLAIN and quantity == 'contrast' else quantity
            if cell.base.method == method and key in result['curves']:
                colour = COLOURS[_arms(results).index(cell.variant) % len(COLOURS)]
                first = not any(line.get_label() == _label(cell.variant) for line in axes.lines)
                label = _label(cell.variant) if first else None
                axes.plot(*result['curves'][key], color=colour, linewidth=1, alpha=0.8, label=label)
        if quantity != 'contrast':
            axes.set_yscale('log')
        else:
            axes.legend(frameon=False, fontsize=8)
        axes.set_title(f'{method}: {titles[quantity]}', fontsize=9, loc='left')
    return figure


def gradient_figure(results: Results) -> Figure | None:
    """Share of the pixels in the gradient of each block, and cosine, in the first seed of each method and arm."""
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    for cell, result in results.items():
        if any(key.startswith('grad_share') for key in result['curves']):
            seen.setdefault((cell.base.method, cell.variant), result['curves'])
    if not seen:
        return None
    figure, panels = _panels(2 * len(seen), 'step', columns=2)
    kinds = {'grad_share_recon_block_': 'share of the pixels', 'grad_cosine_block_': 'cosine'}
    for index, axes in enumerate(panels):
        (method, arm), curves = list(seen.items())[index // 2]
        prefix, title = list(kinds.items())[index % 2]
        names = sorted((name for name in curves if name.startswith(prefix)), key=lambda name: int(name.split('_')[-1]))
        for block, name in enumerate(names):
            shade = block / max(len(names) - 1, 1)
            axes.plot(
                *curves[name],
                color=(0.1 + 0.75 * shade, 0.45 - 0.1 * shade, 0.75 - 0.6 * shade),
                linewidth=1.1,
                label=f'block {block + 1}',
            )
        if prefix.startswith('grad_share'):
            axes.set_yscale('log')
            axes.legend(frameon=False, fontsize=7, ncols=2)
        axes.set_title(f'{method}, {_label(arm)}: {title}', fontsize=9, loc='left')
    return figure


def _panels(count: int, x_label: str, columns: int = 2) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.2 * columns, 2.9 * rows), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False)
    panels = list(grid.flat)
    for axes in panels:
        axes.spines[['top', 'right']].set_visible(False)
        axes.set_xlabel(x_label, fontsize=8)
        axes.tick_params(labelsize=8)
    for axes in panels[count:]:
        axes.remove()
    return figure, panels[:count]


def _methods(results: Results) -> list[str]:
    return list(dict.fromkeys(cell.base.method for cell in results if cell.variant != RANDOM))


def _arms(results: Results) -> list[str]:
    return list(dict.fromkeys(cell.variant for cell in results if cell.variant != RANDOM))


def _label(arm: str) -> str:
    return {PLAIN: 'plain', RANDOM: 'random', 'default': 'RePre'}.get(arm, arm.replace('_', ' '))
