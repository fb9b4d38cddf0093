"""Curves of several runs, as figures and as SVG."""

from pathlib import Path

import numpy as np
import pytest

from repre_mm.visualization.curves import curves_figure, to_svg
from repre_mm.visualization.runs import Run, Series


def run(name: str, **curves: list[float]) -> Run:
    series = {key: Series('iteration', [10, 20, 30], values) for key, values in curves.items()}
    return Run(name, Path(name), series, scores={}, pictures=[], tables=[], config=None, checkpoint=None)


RUNS = [run('full', loss=[3.0, 2.0, 1.5], recon_l1=[0.4, 0.3, 0.2]), run('$plain$', loss=[2.0, 2.0, 2.0])]


def test_curves_hold_the_values_of_every_run():
    lines = curves_figure(RUNS, ['loss']).axes[0].lines
    np.testing.assert_allclose(lines[0].get_ydata(), [3.0, 2.0, 1.5])
    assert lines[0].get_color() != lines[1].get_color()
    figure = curves_figure(RUNS)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['full', '$plain$']
    assert len(figure.axes) == 2
    with pytest.raises(ValueError, match="no run has logged 'acc'; there are loss, recon_l1"):
        curves_figure(RUNS, ['acc'])
    with pytest.raises(ValueError, match='no curves'):
        curves_figure([run('empty')])


def test_charts_take_their_ink_from_the_page():
    svg = to_svg(curves_figure(RUNS, ['loss'], legend=False))
    assert svg.startswith('<svg') and 'viewBox' in svg
    assert 'currentColor' in svg and '#20242a' not in svg and '>total loss</text>' in svg
