"""Figure 3 of the RePre paper: bars of the accuracy without and with RePre, with the gain above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from repre_mm.visualization.curves import COLOURS

_PLAIN, _REPRE = '#b8c0c8', COLOURS[0]


@dataclass(frozen=True)
class Gain:
    """Top-1 in percent of one method and encoder; ``paper`` is the paper's pair, if it reports one."""

    label: str
    plain: float
    repre: float
    paper: tuple[float, float] | None = None


def gains_figure(gains: Sequence[Gain], title: str = 'linear evaluation, top-1 (%)') -> Figure:
    """Two bars per method and encoder, with the paper's two as outlines beside them."""
    figure = Figure(figsize=(max(4.0, 1.5 * len(gains) + 1), 3.6), layout='constrained')
    axes = figure.subplots()
    everything = [value for gain in gains for value in (gain.plain, gain.repre, *(gain.paper or ()))]
    low, high = min(everything), max(everything)
    margin = max((high - low) * 0.35, 1.0)
    for index, gain in enumerate(gains):
        for offset, pair, solid in ((-0.21, (gain.plain, gain.repre), True), (0.21, gain.paper, False)):
            if pair is None:
                continue
            for shift, value, colour in zip((-0.09, 0.09), pair, (_PLAIN, _REPRE), strict=True):
                fill = {'color': colour} if solid else {'facecolor': 'none', 'edgecolor': colour, 'linewidth': 1.5}
                axes.bar(index + offset + shift, value, width=0.16, **fill)
            text = f'{pair[1] - pair[0]:+.1f}'
            axes.annotate(
                text, (index + offset, max(pair)), (0, 3), textcoords='offset points', ha='center', fontsize=8
            )
    axes.set_xticks(range(len(gains)), [gain.label for gain in gains], fontsize=9)
    axes.set_ylim(max(0.0, low - margin), high + margin)
    axes.set_title(title, fontsize=10, loc='left')
    axes.spines[['top', 'right']].set_visible(False)
    handles = [axes.bar(0, 0, color=_PLAIN), axes.bar(0, 0, color=_REPRE)]
    names = ['without RePre', 'with RePre']
    if any(gain.paper for gain in gains):
        handles.append(axes.bar(0, 0, facecolor='none', edgecolor='#20242a', linewidth=1.5))
        names.append('as the paper reports')
    figure.legend(handles, names, loc='outside lower center', ncols=3, frameon=False, fontsize=8)
    return figure
