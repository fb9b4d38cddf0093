"""Figure 3: the bars are as high as the scores, the gain stands above them."""

import pytest

from repre_mm.studies.gains import Gain, gains_figure


def test_bars_are_the_scores():
    gains = [Gain('MoCo v3\nViT-S', 40.0, 41.5, (72.5, 73.2)), Gain('MoBY\nViT-S', 38.0, 37.0)]
    (axes,) = gains_figure(gains).axes
    heights = [bar.get_height() for bar in axes.patches if bar.get_height()]
    assert heights == pytest.approx([40.0, 41.5, 72.5, 73.2, 38.0, 37.0])
    assert [text.get_text() for text in axes.texts] == ['+1.5', '+0.7', '-1.0']
    assert [label.get_text() for label in axes.get_xticklabels()] == ['MoCo v3\nViT-S', 'MoBY\nViT-S']
