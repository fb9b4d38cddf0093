"""Outlines against the formulas of their areas."""

import numpy as np

from repre_mm.toy_scenes.shapes import box, ellipse, stroke


def area(outline):
    x, y = outline.T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_shapes_have_the_areas_of_their_formulas():
    np.testing.assert_allclose(area(ellipse(1, 2, 3, 2)), np.pi * 6, rtol=0.01)
    np.testing.assert_allclose(area(box(0, 0, 4, 2)), 8)
    np.testing.assert_allclose(area(box(0, 0, 4, 2, 0.5)), 8 - (4 - np.pi) * 0.25, rtol=0.01)
    np.testing.assert_allclose(area(stroke(np.array([[0.0, 0], [1, 1], [2, 2]]), 0.5)), 0.5 * np.sqrt(8))
