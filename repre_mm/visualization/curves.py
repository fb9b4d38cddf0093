"""Training curves of several runs, overlaid, as figures and as SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from repre_mm.utils.errors import UserError
from repre_mm.visualization.runs import Run

#: Colours of Okabe and Ito that show on white and on black and are distinct for any colour vision.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#8C8C8C')
_DASHES = ('-', '--', ':', '-.')
_INK = '#20242a'
_STYLE = {f'{part}.color': _INK for part in ('text', 'xtick', 'ytick', 'grid')} | {
    'axes.edgecolor': _INK,
    'axes.labelcolor': _INK,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'grid.alpha': 0.15,
    'text.parse_math': False,  # names of runs may hold a $
}

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


def curves_figure(runs: Sequence[Run], quantities: Sequence[str] | None = None, legend: bool = True) -> Figure:
    """Draw a panel per quantity (all by default), runs overlaid; a panel is small enough for a phone.

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
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(3.9 * columns, 2.7 * rows + 0.4 * legend), layout='constrained')
        for place, quantity in enumerate(quantities, start=1):
            _draw(figure.add_subplot(rows, columns, place), runs, quantity)
        if legend:
            handles = [Line2D([], [], linewidth=2, **run_style(index)) for index in range(len(runs))]
            names = [run.name for run in runs]
            figure.legend(handles, names, loc='outside upper left', ncols=3, frameon=False, fontsize=9)
    return figure


def to_svg(figure: Figure) -> str:
    """Render a figure as an ``<svg>`` element that takes its text colour from the page."""
    buffer = io.StringIO()
    # Keep text as text, and ids the same from run to run.
    with matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': 'repre_mm'}):
        figure.savefig(buffer, format='svg', transparent=True, metadata={'Date': None})
    svg = buffer.getvalue()
    return svg[svg.index('<svg') :].replace(_INK, 'currentColor')


def _draw(panel: Axes, runs: Sequence[Run], quantity: str) -> None:
    for index, run in enumerate(runs):
        if quantity not in run.curves:
            continue
        unit, steps, values = run.curves[quantity]
        panel.set_xlabel(unit, fontsize=9)
        style = {'linewidth': 1.8, **run_style(index)}
        if len(steps) > 60:  # noise would hide one run behind another: draw the running mean over it
            window = len(steps) // 40 + 1
            panel.plot(steps, values, linewidth=0.7, alpha=0.3, color=style['color'])
            panel.plot(steps[window - 1 :], np.convolve(values, np.full(window, 1 / window), 'valid'), **style)
        else:
            panel.plot(steps, values, marker='o', markersize=3, **style)
    panel.set_title(QUANTITIES.get(quantity, quantity), fontsize=10, loc='left')
    panel.tick_params(labelsize=8)
    panel.set_xlim(left=0)
    panel.locator_params(axis='x', nbins=5, integer=True)
    # An offset such as '+1.06e0' is easily overlooked: give near-constant curves long labels instead.
    panel.ticklabel_format(axis='y', useOffset=False, scilimits=(-4, 5))
