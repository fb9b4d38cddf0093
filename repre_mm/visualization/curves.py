"""Training curves of several runs, overlaid, as figures and as SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from repre_mm.utils.errors import UserError
from repre_mm.visualization.runs import Run, Series

#: Colours of Okabe and Ito that show on white and on black and are distinct for any colour vision.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#8C8C8C')
_DASHES = ('-', '--', ':', '-.')
_INK = '#20242a'

#: Logged quantities, the most interesting first, and their titles; others follow under their own names.
QUANTITIES = {
    'loss': 'total loss',
    'contrast': 'contrastive loss',
    'recon_l1': 'reconstruction, L1 per pixel in [0, 1]',
    'weight_contrast': 'weight of the contrastive loss',
    'weight_recon': 'weight of the reconstruction',
    'val/knn_top1': 'kNN top-1 (%)',
    'grad_norm': 'gradient norm',
    'lr': 'learning rate',
    'images_per_s': 'images per second',
    'data_wait': 'share of time waiting for data',
}
# Timing details, and repetitions of what is drawn.
_HIDDEN = ('base_lr', 'data_time', 'time', 'memory')


def quantities_of(runs: Sequence[Run]) -> list[str]:
    """List the quantities that a run logged, those of :data:`QUANTITIES` first."""
    found = {key for run in runs for key in run.curves if key not in _HIDDEN}
    return [key for key in QUANTITIES if key in found] + sorted(found - set(QUANTITIES))


def run_style(index: int) -> dict[str, str]:
    """Choose colour and dash of a run by its index."""
    return {'color': COLOURS[index % len(COLOURS)], 'linestyle': _DASHES[index // len(COLOURS) % len(_DASHES)]}


def curve_figure(runs: Sequence[Run], quantity: str) -> Figure:
    """Draw one quantity of all runs, small enough for a phone, without a legend."""
    with _style():
        figure = Figure(figsize=(3.9, 2.7), layout='constrained')
        _draw(figure.subplots(), runs, quantity)
    return figure


def curves_figure(runs: Sequence[Run], quantities: Sequence[str] | None = None) -> Figure:
    """Draw a panel per quantity (all by default), runs overlaid, with a legend.

    Raises:
        UserError: No run has logged anything, or none has one of the quantities.
    """
    known = quantities_of(runs)
    if not known:
        raise UserError(f'no curves: no TIME/vis_data/scalars.json under {", ".join(str(run.path) for run in runs)}')
    quantities = list(quantities or known)
    for quantity in quantities:
        if not any(quantity in run.curves for run in runs):
            raise UserError(f'no run has logged {quantity!r}; there are {", ".join(known)}')
    columns = min(3, len(quantities))
    rows = -(-len(quantities) // columns)
    with _style():
        figure = Figure(figsize=(3.9 * columns, 2.7 * rows + 0.4), layout='constrained')
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, quantity in zip(panels, quantities, strict=False):
            _draw(panel, runs, quantity)
        for panel in panels[len(quantities) :]:
            panel.remove()
        handles = [Line2D([], [], linewidth=2, **run_style(index)) for index in range(len(runs))]
        add_legend(figure, handles, [run.name for run in runs], loc='outside upper left', ncols=3)
    return figure


def add_legend(figure: Figure, handles: Sequence, names: Sequence[str], **kwargs) -> None:
    """Add a legend with any names; matplotlib alone would drop those that start with an underscore."""
    legend = figure.legend(handles, ['name'] * len(names), frameon=False, fontsize=9, **kwargs)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)


def to_svg(figure: Figure) -> str:
    """Render a figure as an ``<svg>`` element that takes its text colour and width from the page."""
    buffer = io.StringIO()
    # Keep text as text, and ids the same from run to run.
    with matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': 'repre_mm'}):
        figure.savefig(buffer, format='svg', transparent=True)
    svg = buffer.getvalue()
    svg = re.sub(r'<metadata>.*?</metadata>', '', svg[svg.index('<svg') :], flags=re.S)
    for side in ('width', 'height'):  # the viewBox gives the proportions, the page the size
        svg = re.sub(rf'(<svg[^>]*?) {side}="[^"]*"', r'\1', svg, count=1)
    return svg.replace(_INK, 'currentColor')


def _style():
    style = {f'{part}.color': _INK for part in ('text', 'xtick', 'ytick', 'grid')}
    style |= {'axes.edgecolor': _INK, 'axes.labelcolor': _INK, 'axes.spines.top': False, 'axes.spines.right': False}
    style |= {'axes.grid': True, 'grid.alpha': 0.15, 'text.parse_math': False}
    return matplotlib.rc_context(style)


def _draw(panel: Axes, runs: Sequence[Run], quantity: str) -> None:
    for index, run in enumerate(runs):
        series = run.curves.get(quantity)
        if series is None:
            continue
        panel.set_xlabel(series.unit, fontsize=9)
        style = run_style(index)
        if len(series.steps) > 60:  # noise would hide one run behind another: draw the running mean over it
            panel.plot(series.steps, series.values, linewidth=0.7, alpha=0.3, color=style['color'])
            panel.plot(*_running_mean(series), linewidth=1.8, **style)
        else:
            panel.plot(series.steps, series.values, marker='o', markersize=3, linewidth=1.8, **style)
    panel.set_title(QUANTITIES.get(quantity, quantity), fontsize=10, loc='left')
    panel.tick_params(labelsize=8)
    panel.set_xlim(left=0)
    panel.locator_params(axis='x', nbins=5, integer=True)
    # An offset such as '+1.06e0' is easily overlooked: give near-constant curves long labels instead.
    panel.ticklabel_format(axis='y', useOffset=False, scilimits=(-4, 5))


def _running_mean(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """Average over the fortieth of the training that ends at each step."""
    window = max(2, len(series.values) // 40)
    values = np.asarray(series.values, dtype=float)
    padded = np.concatenate([np.full(window - 1, values[0]), values])
    means = np.lib.stride_tricks.sliding_window_view(padded, window).mean(axis=1)
    return np.asarray(series.steps), means
